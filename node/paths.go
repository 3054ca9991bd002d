package node

import "path/filepath"

// meshDir holds this server's membership and its replica.
func meshDir(cfg Config) string { return filepath.Join(cfg.DataDir, "mesh") }

// Socket is the control socket of the daemon with this run-dir.
func Socket(runDir string) string { return filepath.Join(runDir, "orpheus.sock") }

// Kubeconfig is the cluster-admin kubeconfig that the daemon with this run-dir keeps for root on this server.
func Kubeconfig(runDir string) string { return filepath.Join(runDir, "kubeconfig") }
