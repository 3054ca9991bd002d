package main

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"slices"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
	"github.com/spf13/viper"

	"github.com/orpheus-mesh/orpheus/node"
	"github.com/orpheus-mesh/orpheus/node/control"
)

// defaultFile is read where no --config names another; it need not exist.
const defaultFile = "/etc/orpheus/config.yaml"

// settings gives cmd the flags that every subcommand shares.
func settings(cmd *cobra.Command) {
	d := node.Default()
	cmd.PersistentFlags().String("config", "", "configuration file (default "+defaultFile+")")
	cmd.PersistentFlags().String("run-dir", d.RunDir, "directory of the control socket")
	cmd.PersistentFlags().String("data-dir", d.DataDir, "directory of the state that must survive")
}

// nodeFlags gives cmd the flags of a server.
func nodeFlags(f *pflag.FlagSet) {
	d := node.Default()
	f.String("name", d.Name, "node name")
	f.String("region", "", "topology.kubernetes.io/region of this server")
	f.String("zone", "", "topology.kubernetes.io/zone of this server")
	f.String("docker", d.Docker, "address of Docker Engine")
	f.String("listen", d.Listen, "address of the mesh, UDP and TCP")
	f.String("advertise", "", "IP address that peers reach this server at (default: that of the default route)")
	f.String("api-listen", d.API, "address of the Kubernetes API")
	f.String("streaming-listen", d.Streaming, "address for logs, exec, attach and port-forward between servers")
	f.String("http-listen", d.HTTP, "address of the ingress without TLS, empty for none")
	f.String("https-listen", d.HTTPS, "address of the ingress with TLS, empty for none")
	f.String("pod-cidr", d.PodCIDR, "network of all pods, the same on every server")
	f.String("service-cidr", d.Services, "network of all services, the same on every server")
	f.String("domain", d.Domain, "DNS domain of the mesh")
	f.Bool("mdns", d.MDNS, "find servers on the LAN where a token's addresses do not answer")
	f.String("backend", d.Backend, "how pods of different servers reach one another: auto, host-gw or vxlan")
	f.StringSlice("reserved", nil, "resources kept from pods, for example cpu=100m,memory=256Mi")
	f.StringSlice("label", nil, "label of the node, key=value; may be repeated")
	f.String("access-log", "", "file of the ingress access log, - for standard output")
	f.Bool("debug", false, "log at debug level")
}

// load reads flags, ORPHEUS_* environment and the configuration file, in that order of strength. A key that means nothing
// is an error that names it.
func load(cmd *cobra.Command) (node.Config, error) {
	v := viper.New()
	v.SetEnvPrefix("ORPHEUS")
	v.SetEnvKeyReplacer(strings.NewReplacer("-", "_"))
	v.AutomaticEnv()
	if err := v.BindPFlags(cmd.Flags()); err != nil {
		return node.Config{}, err
	}
	if err := readFile(v, cmd); err != nil {
		return node.Config{}, err
	}
	if err := unknownEnvironment(cmd.Flags()); err != nil {
		return node.Config{}, err
	}
	return node.Config{
		Name: v.GetString("name"), DataDir: v.GetString("data-dir"), RunDir: v.GetString("run-dir"),
		Region: v.GetString("region"), Zone: v.GetString("zone"), Docker: v.GetString("docker"),
		Listen: v.GetString("listen"), Advertise: v.GetString("advertise"), API: v.GetString("api-listen"),
		Streaming: v.GetString("streaming-listen"), HTTP: v.GetString("http-listen"), HTTPS: v.GetString("https-listen"),
		PodCIDR: v.GetString("pod-cidr"), Services: v.GetString("service-cidr"), Domain: v.GetString("domain"),
		MDNS: v.GetBool("mdns"), Backend: v.GetString("backend"), Reserved: v.GetStringSlice("reserved"),
		Labels: v.GetStringSlice("label"), AccessLog: v.GetString("access-log"), Debug: v.GetBool("debug"),
	}, nil
}

// configurable are the keys that a file or the environment may set: the flags of `up` but those of one call.
func configurable(f *pflag.FlagSet) (keys []string) {
	f.VisitAll(func(fl *pflag.Flag) {
		if fl.Name != "config" && fl.Name != "help" && fl.Name != "join" {
			keys = append(keys, fl.Name)
		}
	})
	return keys
}

func readFile(v *viper.Viper, cmd *cobra.Command) error {
	path := v.GetString("config")
	optional := path == ""
	if optional {
		path = defaultFile
	}
	v.SetConfigFile(path)
	v.SetConfigType("yaml")
	if err := v.ReadInConfig(); err != nil {
		if optional && errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		return fmt.Errorf("configuration file %s: %w", path, err)
	}
	file := viper.New()
	file.SetConfigFile(path)
	file.SetConfigType("yaml")
	if err := file.ReadInConfig(); err != nil {
		return fmt.Errorf("configuration file %s: %w", path, err)
	}
	known := configurable(cmd.Flags())
	for _, key := range file.AllKeys() {
		if !slices.Contains(known, key) {
			return fmt.Errorf("configuration file %s: unknown key %q; known keys are %s", path, key, strings.Join(known, ", "))
		}
	}
	return nil
}

// unknownEnvironment refuses ORPHEUS_ variables that set nothing: a typing error there would go unnoticed.
func unknownEnvironment(f *pflag.FlagSet) error {
	known := map[string]bool{"ORPHEUS_CONFIG": true, "ORPHEUS_JOIN": true}
	for _, key := range configurable(f) {
		known["ORPHEUS_"+strings.ToUpper(strings.ReplaceAll(key, "-", "_"))] = true
	}
	for _, e := range os.Environ() {
		name, _, _ := strings.Cut(e, "=")
		if strings.HasPrefix(name, "ORPHEUS_") && !known[name] {
			return fmt.Errorf("environment: %s is no setting of orpheus; see `orpheus up --help`", name)
		}
	}
	return nil
}

// daemon is the client of the daemon that the shared flags name.
func daemon(cmd *cobra.Command) *control.Client {
	dir, _ := cmd.Flags().GetString("run-dir")
	if !cmd.Flags().Changed("run-dir") && os.Getenv("ORPHEUS_RUN_DIR") != "" {
		dir = os.Getenv("ORPHEUS_RUN_DIR")
	}
	return control.Dial(node.Socket(dir))
}

// hideBut keeps a server's settings usable in a command whose help they would drown.
func hideBut(shown string) func(*pflag.Flag) {
	return func(f *pflag.Flag) { f.Hidden = f.Name != shown && f.Name != "help" }
}
