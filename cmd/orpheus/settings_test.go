package main

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

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
		"kind of a value":    {args: []string{"--config", file(t, "mdns: perhaps\n")}, want: "mdns: "},
		"list for one":       {args: []string{"--config", file(t, "region: [a, b]\n")}, want: "region: one value"},
		"map for a list":     {args: []string{"--config", file(t, "label: {a: b}\n")}, want: "label: a value"},
		"value of variable":  {env: "ORPHEUS_MDNS", want: "ORPHEUS_MDNS: "},
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

func TestAListOfTheEnvironmentReadsAsOnTheCommandLine(t *testing.T) {
	t.Setenv("ORPHEUS_RESERVED", "cpu=1,memory=1Gi")
	cfg, err := configure(t, "--label", "a=b,c=d", "--label", "e=f")
	if err != nil {
		t.Fatal(err)
	}
	if !slices.Equal(cfg.Reserved, []string{"cpu=1", "memory=1Gi"}) || !slices.Equal(cfg.Labels, []string{"a=b", "c=d", "e=f"}) {
		t.Errorf("reserved %q, labels %q", cfg.Reserved, cfg.Labels)
	}
}

// attempt runs a command that finds no daemon.
func attempt(args ...string) (out string, err error) {
	var b strings.Builder
	cmd := root()
	cmd.SetOut(&b)
	cmd.SetErr(&b)
	cmd.SetArgs(args)
	err = cmd.Execute()
	return b.String(), err
}

func TestCommandsLookForTheDaemonWhereTheFileSays(t *testing.T) {
	path := file(t, "run-dir: /nowhere/at/all\n")
	for _, args := range [][]string{{"status"}, {"token", "create"}, {"image", "ls"}, {"image", "add", "x:1"}} {
		if _, err := attempt(append(args, "--config", path)...); err == nil || !strings.Contains(err.Error(), "/nowhere/at/all/") {
			t.Errorf("%v: %v", args, err)
		}
	}
	if _, err := attempt("status", "--config", "/nowhere.yaml"); err == nil || !strings.Contains(err.Error(), "/nowhere.yaml") {
		t.Errorf("a file that is not there: %v", err)
	}
}

func TestWhatIsMistypedIsNamed(t *testing.T) {
	for want, args := range map[string][]string{
		`"creat"`:        {"token", "creat"},
		`"lst"`:          {"image", "lst"},
		`"rotat"`:        {"secrets", "rotat"},
		"want NODE":      {"fence"},
		"want REF":       {"image", "add", "a", "b"},
		"--tag":          {"image", "build", "."},
		"to build from":  {"image", "build", "-t", "x:1"},
		"value is miss":  {"image", "build", ".", "--tag"},
		"give 1s to 720": {"token", "create", "--ttl", "0s"},
	} {
		if _, err := attempt(args...); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v: %v, want an error that says %s", args, err, want)
		}
	}
}

func TestBuildPassesOnWhatIsDockers(t *testing.T) {
	ours := func(name string) bool { return name == "run-dir" || name == "docker" }
	b, err := parseBuild(strings.Fields("--no-cache -t a:1 --build-arg K=V --run-dir /r -f x/Dockerfile --tag=b:2 -tc:3 --docker=tcp://d:1 ctx"), ours)
	if err != nil {
		t.Fatal(err)
	}
	got := fmt.Sprint(b.refs, b.rest, b.own)
	if want := "[a:1 b:2 c:3] [--no-cache --build-arg K=V -f x/Dockerfile ctx] map[docker:tcp://d:1 run-dir:/r]"; got != want {
		t.Errorf("got  %s\nwant %s", got, want)
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
rebalance: gentle
linger: 5m
access-log: /l
debug: true
`))
	if err != nil {
		t.Fatal(err)
	}
	want := node.Config{Name: "n", DataDir: "/d", RunDir: "/r", Region: "re", Zone: "z", Docker: "unix:///x", Listen: "1.1.1.1:1",
		Advertise: "2.2.2.2", API: "1.1.1.1:2", Streaming: "1.1.1.1:3", HTTP: "1.1.1.1:4", HTTPS: "1.1.1.1:5", PodCIDR: "10.0.0.0/16",
		Services: "10.1.0.0/16", Domain: "d.local", Backend: "vxlan", Reserved: []string{"cpu=1"}, Labels: []string{"a=b"}, Rebalance: "gentle", Linger: 5 * time.Minute, AccessLog: "/l", Debug: true}
	if got, wanted := show(cfg), show(want); got != wanted {
		t.Errorf("got  %s\nwant %s", got, wanted)
	}
}

func show(c node.Config) string {
	var b strings.Builder
	for _, part := range []any{c.Name, c.DataDir, c.RunDir, c.Region, c.Zone, c.Docker, c.Listen, c.Advertise, c.API, c.Streaming, c.HTTP,
		c.HTTPS, c.PodCIDR, c.Services, c.Domain, c.MDNS, c.Backend, c.Reserved, c.Labels, c.Rebalance, c.Linger, c.AccessLog, c.Debug} {
		b.WriteString(strings.TrimSpace(fmt.Sprint(part)) + " ")
	}
	return b.String()
}
