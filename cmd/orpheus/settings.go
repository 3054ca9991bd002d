package main

import (
	"cmp"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
	"github.com/spf13/viper"

	"github.com/orpheus-mesh/orpheus/node"
	"github.com/orpheus-mesh/orpheus/node/control"
)

// defaultFile is read where no --config names another; it need not exist.
const defaultFile = "/etc/orpheus/config.yaml"

// settings are the flags that every subcommand shares.
func settings(f *pflag.FlagSet) {
	d := node.Default()
	f.String("config", "", "configuration file (default "+defaultFile+")")
	f.String("run-dir", d.RunDir, "directory of the control socket")
	f.String("data-dir", d.DataDir, "directory of the state that must survive")
}

// nodeFlags are the flags of a server.
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
	f.String("rebalance", d.Rebalance, "when servers join, move running pods to them: off, gentle (one at a time) or eager; the same on every server")
	f.Duration("linger", d.Linger, "how long connections through the ingress, logs, exec and watches outlive a restart of the daemon; 0 to cut them")
	f.String("access-log", "", "file of the ingress access log, - for standard output")
	f.Bool("debug", false, "log at debug level")
}

// known are the keys that the file and the environment may set, whatever the command: flags of `up`, but those of one call.
func known() (keys []string) {
	f := pflag.NewFlagSet("known", pflag.ContinueOnError)
	settings(f)
	nodeFlags(f)
	f.VisitAll(func(fl *pflag.Flag) {
		if fl.Name != "config" {
			keys = append(keys, fl.Name)
		}
	})
	return keys
}

func variable(key string) string {
	return "ORPHEUS_" + strings.ToUpper(strings.ReplaceAll(key, "-", "_"))
}

// settle gives every flag of cmd that was not given the value of its ORPHEUS_ variable or, where there is none, that of the
// configuration file. A key of the file that means nothing is an error that names it.
func settle(cmd *cobra.Command, _ []string) error {
	v, path, err := sources(cmd)
	if err != nil {
		return err
	}
	for _, key := range known() {
		f := cmd.Flags().Lookup(key)
		if f == nil || f.Changed || !v.IsSet(key) {
			continue
		}
		if err := set(f.Value, v.Get(key)); err != nil {
			from := "configuration file " + path + ": " + key
			if os.Getenv(variable(key)) != "" {
				from = "environment: " + variable(key)
			}
			return fmt.Errorf("%s: %w", from, err)
		}
	}
	return nil
}

// sources are the environment and, weaker, the file.
func sources(cmd *cobra.Command) (v *viper.Viper, path string, err error) {
	v = viper.New()
	for _, key := range append(known(), "config") {
		if err := v.BindEnv(key, variable(key)); err != nil {
			return nil, "", err
		}
	}
	named, _ := cmd.Flags().GetString("config")
	path = cmp.Or(named, v.GetString("config"), defaultFile)
	v.SetConfigFile(path)
	v.SetConfigType("yaml")
	err = v.ReadInConfig()
	if path == defaultFile && errors.Is(err, fs.ErrNotExist) {
		return v, path, nil
	}
	if err != nil {
		return nil, "", fmt.Errorf("configuration file %s: %w", path, err)
	}
	for _, key := range v.AllKeys() {
		if v.InConfig(key) && !slices.Contains(known(), key) {
			return nil, "", fmt.Errorf("configuration file %s: unknown key %q; known keys are %s", path, key, strings.Join(known(), ", "))
		}
	}
	return v, path, nil
}

// set has the flag read what a file or a variable says, so that nonsense is an error as it is on the command line.
func set(flag pflag.Value, value any) error {
	if _, isMap := value.(map[string]any); isMap {
		return errors.New("a value or a list of them is wanted, not a map")
	}
	list, isList := value.([]any)
	if !isList {
		return flag.Set(fmt.Sprint(value))
	}
	many, takesList := flag.(pflag.SliceValue)
	if !takesList {
		return errors.New("one value is wanted, not a list")
	}
	var all []string
	for _, one := range list {
		all = append(all, fmt.Sprint(one))
	}
	return many.Replace(all)
}

// load reads flags, ORPHEUS_* environment and the configuration file, in that order of strength.
func load(cmd *cobra.Command) (node.Config, error) {
	if err := errors.Join(settle(cmd, nil), unknownEnvironment()); err != nil {
		return node.Config{}, err
	}
	text := func(key string) string { s, _ := cmd.Flags().GetString(key); return s }
	yes := func(key string) bool { b, _ := cmd.Flags().GetBool(key); return b }
	span := func(key string) time.Duration { d, _ := cmd.Flags().GetDuration(key); return d }
	list := func(key string) []string { l, _ := cmd.Flags().GetStringSlice(key); return l }
	return node.Config{
		Name: text("name"), DataDir: text("data-dir"), RunDir: text("run-dir"),
		Region: text("region"), Zone: text("zone"), Docker: text("docker"),
		Listen: text("listen"), Advertise: text("advertise"), API: text("api-listen"),
		Streaming: text("streaming-listen"), HTTP: text("http-listen"), HTTPS: text("https-listen"),
		PodCIDR: text("pod-cidr"), Services: text("service-cidr"), Domain: text("domain"),
		MDNS: yes("mdns"), Backend: text("backend"), Reserved: list("reserved"),
		Labels: list("label"), Rebalance: text("rebalance"), Linger: span("linger"), AccessLog: text("access-log"), Debug: yes("debug"),
	}, nil
}

// unknownEnvironment refuses ORPHEUS_ variables that set nothing: a typing error there would go unnoticed.
func unknownEnvironment() error {
	variables := []string{"ORPHEUS_CONFIG", "ORPHEUS_JOIN"}
	for _, key := range known() {
		variables = append(variables, variable(key))
	}
	for _, e := range os.Environ() {
		name, _, _ := strings.Cut(e, "=")
		if strings.HasPrefix(name, "ORPHEUS_") && !slices.Contains(variables, name) {
			return fmt.Errorf("environment: %s is no setting of orpheus; see `orpheus up --help`", name)
		}
	}
	return nil
}

// daemon is the client of the daemon that the shared flags name.
func daemon(cmd *cobra.Command) *control.Client {
	dir, _ := cmd.Flags().GetString("run-dir")
	return control.Dial(node.Socket(dir))
}

// hideBut keeps a server's settings usable in a command whose help they would drown.
func hideBut(shown string) func(*pflag.Flag) {
	return func(f *pflag.Flag) { f.Hidden = f.Name != shown && f.Name != "help" }
}
