package main

import (
	"fmt"
	"os"
	"strings"

	"github.com/spf13/cobra"
	"k8s.io/cli-runtime/pkg/genericiooptions"
	"k8s.io/client-go/tools/clientcmd"
	kubecmd "k8s.io/kubectl/pkg/cmd"
	"k8s.io/kubectl/pkg/cmd/plugin"
	"k8s.io/kubectl/pkg/cmd/util"

	"github.com/orpheus-mesh/orpheus/node"
)

// kubectl is upstream's, unchanged; without a KUBECONFIG it speaks to this server's daemon as cluster-admin.
func kubectl() *cobra.Command {
	return &cobra.Command{
		Use:                "kubectl",
		Short:              "Upstream's kubectl, against this server unless KUBECONFIG says otherwise",
		DisableFlagParsing: true,
		ValidArgsFunction:  completeKubectl,
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := ownKubeconfig(cmd); err != nil {
				return err
			}
			return upstream(args).ExecuteContext(cmd.Context())
		},
	}
}

// upstream is kubectl as its own binary would run it.
func upstream(args []string) *cobra.Command {
	os.Args = append([]string{"kubectl"}, args...)
	k := kubecmd.NewDefaultKubectlCommandWithArgs(kubecmd.KubectlOptions{
		PluginHandler: kubecmd.NewDefaultPluginHandler(plugin.ValidPluginFilenamePrefixes),
		Arguments:     os.Args,
		IOStreams:     genericiooptions.IOStreams{In: os.Stdin, Out: os.Stdout, ErrOut: os.Stderr},
	})
	k.SetArgs(args)
	return k
}

// ownKubeconfig points kubectl at the kubeconfig that this server's daemon keeps, unless the user has one. Where no daemon
// ran, kubectl's own default applies; where that is missing too, kubectl would complain of localhost:8080.
func ownKubeconfig(cmd *cobra.Command) error {
	if os.Getenv("KUBECONFIG") != "" {
		return nil
	}
	dir, _ := cmd.Flags().GetString("run-dir")
	path := node.Kubeconfig(dir)
	_, err := os.Stat(path)
	if err == nil {
		return os.Setenv("KUBECONFIG", path)
	}
	if _, absent := os.Stat(clientcmd.RecommendedHomeFile); absent != nil {
		util.BehaviorOnFatal(func(message string, code int) {
			fmt.Fprintln(os.Stderr, strings.TrimSpace(message))
			if strings.Contains(message, "localhost:8080") {
				fmt.Fprintf(os.Stderr, "No orpheus daemon keeps a kubeconfig here (%v): start it with `orpheus up`, or set KUBECONFIG.\n", err)
			}
			os.Exit(code)
		})
	}
	return nil
}
