package main

import (
	"os"

	"github.com/spf13/cobra"
	"k8s.io/cli-runtime/pkg/genericiooptions"
	kubecmd "k8s.io/kubectl/pkg/cmd"
	"k8s.io/kubectl/pkg/cmd/plugin"

	"github.com/orpheus-mesh/orpheus/node"
)

// kubectl is upstream's, unchanged; without a KUBECONFIG it speaks to this server's daemon as cluster-admin.
func kubectl() *cobra.Command {
	return &cobra.Command{
		Use:                "kubectl",
		Short:              "Upstream's kubectl, against this server unless KUBECONFIG says otherwise",
		DisableFlagParsing: true,
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := ownKubeconfig(); err != nil {
				return err
			}
			os.Args = append([]string{"kubectl"}, args...)
			k := kubecmd.NewDefaultKubectlCommandWithArgs(kubecmd.KubectlOptions{
				PluginHandler: kubecmd.NewDefaultPluginHandler(plugin.ValidPluginFilenamePrefixes),
				Arguments:     os.Args,
				IOStreams:     genericiooptions.IOStreams{In: os.Stdin, Out: os.Stdout, ErrOut: os.Stderr},
			})
			k.SetArgs(args)
			return k.ExecuteContext(cmd.Context())
		},
	}
}

// ownKubeconfig points kubectl at the kubeconfig that this server's daemon keeps, unless the user has one. Where no daemon
// ran, kubectl's own default applies.
func ownKubeconfig() error {
	if os.Getenv("KUBECONFIG") != "" {
		return nil
	}
	dir := os.Getenv("ORPHEUS_RUN_DIR")
	if dir == "" {
		dir = node.Default().RunDir
	}
	path := node.Kubeconfig(dir)
	if _, err := os.Stat(path); err != nil {
		return nil
	}
	return os.Setenv("KUBECONFIG", path)
}
