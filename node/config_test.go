package node

import (
	"strings"
	"testing"
)

func TestDefaultIsValid(t *testing.T) {
	c := Default()
	c.Name = "a"
	if err := c.Validate(); err != nil {
		t.Fatal(err)
	}
}

func TestValidateNamesTheFieldAndTheMend(t *testing.T) {
	for field, spoil := range map[string]func(*Config){
		"name":         func(c *Config) { c.Name = "Upper_Case" },
		"data-dir":     func(c *Config) { c.DataDir = "relative" },
		"listen":       func(c *Config) { c.Listen = "7946" },
		"api-listen":   func(c *Config) { c.API = ":6443" },
		"http-listen":  func(c *Config) { c.HTTP = "eighty" },
		"advertise":    func(c *Config) { c.Advertise = "host.example" },
		"pod-cidr":     func(c *Config) { c.PodCIDR = "10.0.0.0/24" },
		"service-cidr": func(c *Config) { c.Services = "10.32.0.0/16" },
		"backend":      func(c *Config) { c.Backend = "wireguard" },
		"rebalance":    func(c *Config) { c.Rebalance = "greedy" },
		"docker":       func(c *Config) { c.Docker = "/var/run/docker.sock" },
		"region":       func(c *Config) { c.Region = "a/b" },
		"zone":         func(c *Config) { c.Zone = "the first" },
		"domain":       func(c *Config) { c.Domain = "mesh..local" },
		"label":        func(c *Config) { c.Labels = []string{"disk=fast", "a b=c"} },
		"reserved":     func(c *Config) { c.Reserved = []string{"cpu=-1"} },
		"https-listen": func(c *Config) { c.HTTPS = "127.0.0.1:6443" },
	} {
		c := Default()
		c.Name = "a"
		spoil(&c)
		err := c.Validate()
		if err == nil || !strings.HasPrefix(err.Error(), field+": ") {
			t.Errorf("%s: got %v, want an error that begins with the field", field, err)
		}
	}
}

func TestValidateTakesWhatIsRight(t *testing.T) {
	for name, change := range map[string]func(*Config){
		"ports of the system's choice": func(c *Config) { c.API, c.HTTP = "0.0.0.0:0", "0.0.0.0:0" },
		"one port of two addresses":    func(c *Config) { c.API, c.HTTPS = "10.0.0.1:443", "10.0.0.2:443" },
		"labels":                       func(c *Config) { c.Labels = []string{"example.com/disk=fast", "gpu="} },
		"place":                        func(c *Config) { c.Region, c.Zone = "eu-1", "Hall_2.b" },
		"reserved":                     func(c *Config) { c.Reserved = []string{"cpu=100m", "memory=256Mi", "pods=2"} },
		"engine elsewhere":             func(c *Config) { c.Docker = "tcp://127.0.0.1:2375" },
	} {
		c := Default()
		c.Name = "a.example"
		change(&c)
		if err := c.Validate(); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestEveryFaultIsToldAtOnce(t *testing.T) {
	c := Default()
	c.Name, c.Backend, c.Advertise = "", "x", "y"
	if n := strings.Count(c.Validate().Error(), "\n"); n != 2 {
		t.Errorf("got %d faults, want 3:\n%v", n+1, c.Validate())
	}
}

func TestEmptyIngressAddressMeansNone(t *testing.T) {
	c := Default()
	c.Name, c.HTTP, c.HTTPS = "a", "", ""
	if err := c.Validate(); err != nil {
		t.Fatal(err)
	}
}
