package main

import (
	"fmt"
	"os"
	"strings"
	"time"
)

// settings come from the environment: what a ConfigMap and a Secret give.
type settings struct {
	listen       string        // LISTEN, default :8080
	version      string        // TODO_VERSION
	host         string        // HOSTNAME
	drain        time.Duration // DRAIN, how long to serve on after being told to stop; default 2s
	backend      string        // BACKEND_URL, default http://backend:8080
	redis        string        // REDIS_ADDR, default redis:6379
	password     string        // REDIS_PASSWORD
	passwordFile string        // REDIS_PASSWORD_FILE, read anew for each connection; wins over REDIS_PASSWORD
	greeting     string        // GREETING
	greetingFile string        // GREETING_FILE, read anew for each request; wins over GREETING
}

func settingsFrom(lookup func(string) (string, bool)) (settings, error) {
	get := func(key, otherwise string) string {
		if v, ok := lookup(key); ok && v != "" {
			return v
		}
		return otherwise
	}
	s := settings{
		listen: get("LISTEN", ":8080"), version: get("TODO_VERSION", "dev"), host: get("HOSTNAME", "unknown"),
		backend: get("BACKEND_URL", "http://backend:8080"), redis: get("REDIS_ADDR", "redis:6379"),
		password: get("REDIS_PASSWORD", ""), passwordFile: get("REDIS_PASSWORD_FILE", ""),
		greeting: get("GREETING", "Things to do"), greetingFile: get("GREETING_FILE", ""),
	}
	var err error
	if s.drain, err = time.ParseDuration(get("DRAIN", "2s")); err != nil || s.drain < 0 {
		return s, fmt.Errorf("DRAIN: %q is no duration such as 2s", get("DRAIN", ""))
	}
	return s, nil
}

func (s settings) secret() (string, error)  { return fileOr(s.passwordFile, s.password) }
func (s settings) welcome() (string, error) { return fileOr(s.greetingFile, s.greeting) }

func fileOr(file, value string) (string, error) {
	if file == "" {
		return value, nil
	}
	b, err := os.ReadFile(file)
	return strings.TrimRight(string(b), "\n"), err
}

func (settings) tier(t tier) string {
	if _, ok := t.(*backend); ok {
		return "backend"
	}
	return "frontend"
}
