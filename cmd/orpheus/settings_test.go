package main

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/spf13/cobra"

	"github.com/orpheus-mesh/orpheus/node"
)

// configure reads the settings of `orpheus up ARGS` and runs nothing.
func configure(t *testing.T, args ...string) (cfg node.Config, err error) {
	t.Helper()
	cmd := root()
	for _, sub := range cmd.Commands() {
		if sub.Name() == "up" {
			sub.RunE = func(c *cobra.Command, _ []string) error {
				cfg, err = load(c)
				return err
			}
		}
	}
	cmd.SetArgs(append([]string{"up"}, args...))
	if e := cmd.Execute(); err == nil {
		err = e
	}
	return cfg, err
}

func file(t *testing.T, text string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "config.yaml")
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestFlagsBeatEnvironmentBeatsFile(t *testing.T) {
	path := file(t, "region: from-file\nzone: from-file\nname: from-file\n")
	t.Setenv("ORPHEUS_ZONE", "from-environment")
	t.Setenv("ORPHEUS_NAME", "from-environment")
	cfg, err := configure(t, "--config", path, "--name", "from-flag")
	if err != nil {
		t.Fatal(err)
	}
	if cfg.Region != "from-file" || cfg.Zone != "from-environment" || cfg.Name != "from-flag" {
		t.Errorf("region %q, zone %q, name %q", cfg.Region, cfg.Zone, cfg.Name)
	}
}

func TestDefaultsHoldWhereNothingIsSaid(t *testing.T) {
	cfg, err := configure(t, "--config", file(t, "{}"))
	if err != nil {
		t.Fatal(err)
	}
	if d := node.Default(); cfg.API != d.API || cfg.PodCIDR != d.PodCIDR || !cfg.MDNS {
		t.Errorf("got %+v", cfg)
	}
}

func TestWhatMeansNothingIsNamed(t *testing.T) {
	for name, test := range map[string]struct {
		args []string
		env  string
		want string
	}{
		"key of the file":    {args: []string{"--config", file(t, "regoin: x\n")}, want: `unknown key "regoin"`},
		"broken file":        {args: []string{"--config", file(t, "a: [")}, want: "configuration file"},
		"file that is named": {args: []string{"--config", "/nowhere.yaml"}, want: "/nowhere.yaml"},
		"variable":           {env: "ORPHEUS_REGOIN", want: "ORPHEUS_REGOIN"},
		"flag":               {args: []string{"--regoin", "x"}, want: "--regoin"},
	} {
		t.Run(name, func(t *testing.T) {
			if test.env != "" {
				t.Setenv(test.env, "x")
			}
			_, err := configure(t, test.args...)
			if err == nil || !strings.Contains(err.Error(), test.want) {
				t.Errorf("got %v, want an error that names %s", err, test.want)
			}
		})
	}
}

func TestEveryKeyReachesTheConfiguration(t *testing.T) {
	cfg, err := configure(t, "--config", file(t, `
name: n
data-dir: /d
run-dir: /r
region: re
zone: z
docker: unix:///x
listen: 1.1.1.1:1
advertise: 2.2.2.2
api-listen: 1.1.1.1:2
streaming-listen: 1.1.1.1:3
http-listen: 1.1.1.1:4
https-listen: 1.1.1.1:5
pod-cidr: 10.0.0.0/16
service-cidr: 10.1.0.0/16
domain: d.local
mdns: false
backend: vxlan
reserved: [cpu=1]
label: [a=b]
access-log: /l
debug: true
`))
	if err != nil {
		t.Fatal(err)
	}
	want := node.Config{Name: "n", DataDir: "/d", RunDir: "/r", Region: "re", Zone: "z", Docker: "unix:///x", Listen: "1.1.1.1:1",
		Advertise: "2.2.2.2", API: "1.1.1.1:2", Streaming: "1.1.1.1:3", HTTP: "1.1.1.1:4", HTTPS: "1.1.1.1:5", PodCIDR: "10.0.0.0/16",
		Services: "10.1.0.0/16", Domain: "d.local", Backend: "vxlan", Reserved: []string{"cpu=1"}, Labels: []string{"a=b"}, AccessLog: "/l", Debug: true}
	if got, wanted := show(cfg), show(want); got != wanted {
		t.Errorf("got  %s\nwant %s", got, wanted)
	}
}

func show(c node.Config) string {
	var b strings.Builder
	for _, part := range []any{c.Name, c.DataDir, c.RunDir, c.Region, c.Zone, c.Docker, c.Listen, c.Advertise, c.API, c.Streaming, c.HTTP,
		c.HTTPS, c.PodCIDR, c.Services, c.Domain, c.MDNS, c.Backend, c.Reserved, c.Labels, c.AccessLog, c.Debug} {
		b.WriteString(strings.TrimSpace(fmt.Sprint(part)) + " ")
	}
	return b.String()
}
