package main

import (
	"cmp"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"
	cliversion "k8s.io/component-base/version"

	"github.com/orpheus-mesh/orpheus/node"
	"github.com/orpheus-mesh/orpheus/node/control"
)

func token() *cobra.Command {
	create := &cobra.Command{Use: "create", Short: "Print a token that lets one server join", Args: cobra.NoArgs}
	ttl := create.Flags().Duration("ttl", time.Hour, "how long the token is good")
	create.RunE = func(cmd *cobra.Command, _ []string) error {
		if *ttl < time.Second || *ttl > 30*24*time.Hour {
			return fmt.Errorf("--ttl: %s is not usable: give 1s to 720h", *ttl)
		}
		t, err := daemon(cmd).CreateToken(cmd.Context(), *ttl)
		if err == nil {
			fmt.Fprintln(cmd.OutOrStdout(), t)
		}
		return err
	}
	return group(&cobra.Command{Use: "token", Short: "Tokens that let servers join"}, create)
}

func members() *cobra.Command {
	cmd := &cobra.Command{Use: "members", Short: "The servers of the mesh, as this one sees them", Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			ms, err := daemon(cmd).Members(cmd.Context())
			if err != nil {
				return err
			}
			return printMembers(cmd.OutOrStdout(), ms)
		}}
	cmd.AddCommand(evict())
	return cmd
}

// printMembers lists servers by name; of one name (a host that was set up anew) the identities follow one another.
func printMembers(w io.Writer, ms []control.Member) error {
	slices.SortFunc(ms, func(a, b control.Member) int {
		return cmp.Or(strings.Compare(a.Name, b.Name), strings.Compare(a.ID, b.ID))
	})
	return table(w, "NAME\tADDRESS\tREGION\tZONE\tSTATE\tFOR\tID", func(row func(...any)) {
		for _, m := range ms {
			name := m.Name
			if m.Self {
				name += " *"
			}
			row(name, m.Address, dash(m.Region), dash(m.Zone), m.State, time.Since(m.Since).Round(time.Second), m.ID)
		}
	})
}

func evict() *cobra.Command {
	cmd := &cobra.Command{Use: "evict NAME", Short: "Declare that a server will not come back: the mesh refuses it from then on", Args: cobra.ExactArgs(1), ValidArgsFunction: completeServer,
		Long: `Declare that the server NAME (its host name or its ID) will not come back. Every server refuses that identity from then on, and
nobody keeps deletions for it any longer. This cannot be taken back: the host joins again with an empty data directory and a
new token. What it ran is replaced as after any loss; for pods that are pinned to it see "orpheus fence".`}
	force := cmd.Flags().Bool("force", false, "also if it is in sight")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		m, err := daemon(cmd).Evict(cmd.Context(), args[0], *force)
		if err == nil {
			fmt.Fprintf(cmd.OutOrStdout(), "server %s (%s) evicted\n", m.Name, m.ID)
		}
		return err
	}
	return cmd
}

func status() *cobra.Command {
	cmd := &cobra.Command{Use: "status", Short: "How this server is, and of what is not well why (exit status 1 where something is not)", Args: cobra.NoArgs}
	asJSON := cmd.Flags().Bool("json", false, "print JSON; exits 0 whenever the daemon answers")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		s, err := daemon(cmd).Status(cmd.Context())
		if err != nil {
			return err
		}
		if *asJSON {
			return json.NewEncoder(cmd.OutOrStdout()).Encode(s)
		}
		printStatus(cmd.OutOrStdout(), s)
		if len(s.Problems) > 0 {
			return errShown
		}
		return nil
	}
	return cmd
}

func printStatus(w io.Writer, s control.Status) {
	well := "all is well"
	if n := len(s.Problems); n > 0 {
		well = fmt.Sprintf("%d thing(s) not well", n)
	} else if !s.Ready {
		well = "starting"
	}
	fmt.Fprintf(w, "%s (%s) %s: %s\n", s.Name, s.Address, s.Version, well)
	fmt.Fprintf(w, "  mesh     %d of %d servers in sight\n", s.Alive, s.Members)
	fmt.Fprintf(w, "  replica  %d records, fingerprint %.16s, %d conflict(s)\n", s.Records, s.Root, s.Conflicts)
	fmt.Fprintf(w, "  daemon   up %s, %d MiB resident\n", time.Since(s.Since).Round(time.Second), s.RSS>>20)
	for _, p := range s.Problems {
		fmt.Fprintf(w, "  ! %s: %s\n    -> %s\n", p.What, p.Why, p.Mend)
	}
}

func kubeconfig() *cobra.Command {
	cmd := &cobra.Command{Use: "kubeconfig", Short: "Print a kubeconfig for this mesh (cluster-admin unless --user says otherwise)", Args: cobra.NoArgs}
	user := cmd.Flags().String("user", "orpheus-admin", "user name in the client certificate")
	groups := cmd.Flags().StringSlice("group", []string{"system:masters"}, "groups in the client certificate")
	server := cmd.Flags().String("server", "", "API address to write, https://HOST:PORT (default: this server)")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		g := *groups
		if cmd.Flags().Changed("user") && !cmd.Flags().Changed("group") {
			g = nil // a named user gets no power but what RBAC gives
		}
		b, err := daemon(cmd).Kubeconfig(cmd.Context(), control.KubeconfigRequest{User: *user, Groups: g, Server: *server})
		if err == nil {
			_, err = cmd.OutOrStdout().Write(b)
		}
		return err
	}
	return cmd
}

func image() *cobra.Command {
	ls := &cobra.Command{Use: "ls", Short: "List the images that the mesh knows", Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			recs, err := daemon(cmd).Images(cmd.Context())
			if err != nil {
				return err
			}
			return printImages(cmd.OutOrStdout(), recs)
		}}
	loadCmd := &cobra.Command{Use: "load [FILE]", Short: "Load a docker-save archive (standard input without FILE)", Args: cobra.MaximumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			in := cmd.InOrStdin()
			if len(args) == 1 && args[0] != "-" {
				f, err := os.Open(args[0])
				if err != nil {
					return err
				}
				defer f.Close()
				in = f
			}
			recs, err := daemon(cmd).LoadImage(cmd.Context(), in)
			if err != nil {
				return err
			}
			return printImages(cmd.OutOrStdout(), recs)
		}}
	add := &cobra.Command{Use: "add REF", Short: "Share an image that this server's engine already has", Args: exactly("REF"),
		RunE: func(cmd *cobra.Command, args []string) error {
			rec, err := daemon(cmd).RememberImage(cmd.Context(), args[0])
			if err != nil {
				return err
			}
			return printImages(cmd.OutOrStdout(), []control.Image{rec})
		}}
	return group(&cobra.Command{Use: "image", Short: "Images that every server of the mesh can run"}, ls, loadCmd, add, imageBuild())
}

func printImages(w io.Writer, recs []control.Image) error {
	return table(w, "IMAGE\tID\tSIZE\tFROM", func(row func(...any)) {
		for _, r := range recs {
			row(r.Ref, strings.TrimPrefix(r.ID, "sha256:")[:12], fmt.Sprintf("%.1f MB", float64(r.Size)/1e6), r.By)
		}
	})
}

func fence() *cobra.Command {
	cmd := &cobra.Command{Use: "fence NODE", Short: "Declare a dead server's pinned pods lost, so that they are replaced", Args: exactly("NODE"), ValidArgsFunction: completeServer,
		Long: `Declare that NODE will not come back with what it ran: its StatefulSet, DaemonSet, Job and bare pods, which are never
replaced on mere absence, are replaced now. Should NODE return, it kills those pods before it does anything else. Data on
its disks that is nowhere else stays there: a new pod starts with an empty node-local volume.`}
	lift := cmd.Flags().Bool("lift", false, "take the fence back")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		if err := daemon(cmd).Fence(cmd.Context(), args[0], *lift); err != nil {
			return err
		}
		fmt.Fprintf(cmd.OutOrStdout(), "node %s %s\n", args[0], map[bool]string{false: "fenced", true: "no longer fenced"}[*lift])
		return nil
	}
	return cmd
}

func conflicts() *cobra.Command {
	cmd := &cobra.Command{Use: "conflicts", Short: "What people asked for on two sides that can't both be", Args: cobra.NoArgs}
	full := cmd.Flags().Bool("full", false, "show the objects whole")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		cs, err := daemon(cmd).Conflicts(cmd.Context())
		if err != nil {
			return err
		}
		w := cmd.OutOrStdout()
		if len(cs) == 0 {
			fmt.Fprintln(w, "no conflicts")
		}
		for _, c := range cs {
			fmt.Fprintf(w, "%s %s\n", c.Kind, strings.TrimPrefix(c.Namespace+"/"+c.Name, "/"))
			if c.Why != "" {
				fmt.Fprintf(w, "  %s\n  -> %s\n", c.Why, c.Mend)
				continue
			}
			printEdit(w, "executes", c.Executing, *full)
			for _, o := range c.Others {
				printEdit(w, "waits", o, *full)
			}
			fmt.Fprintf(w, "  -> write the object once more (kubectl apply or edit) to settle it\n")
		}
		return nil
	}
	return cmd
}

func printEdit(w io.Writer, what string, e control.Edit, full bool) {
	if e.Delete {
		what += " (deletion)"
	}
	fmt.Fprintf(w, "  %s: by %s", what, e.Author)
	if !e.Time.IsZero() { // that of what executes is not known
		fmt.Fprintf(w, " at %s", e.Time.UTC().Format(time.RFC3339))
	}
	fmt.Fprintln(w)
	if full {
		fmt.Fprintf(w, "    %s\n", e.Body)
	}
}

func secrets() *cobra.Command {
	rotate := &cobra.Command{Use: "rotate", Short: "Make a new encryption key and encrypt all Secrets anew", Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			n, err := daemon(cmd).RotateSecrets(cmd.Context())
			if err == nil {
				fmt.Fprintf(cmd.OutOrStdout(), "%d secret(s) encrypted with the new key\n", n)
			}
			return err
		}}
	return group(&cobra.Command{Use: "secrets", Short: "Secrets at rest"}, rotate)
}

func version() *cobra.Command {
	return &cobra.Command{Use: "version", Short: "Print the version", Args: cobra.NoArgs,
		Run: func(cmd *cobra.Command, _ []string) { printVersion(cmd.OutOrStdout()) }}
}

func printVersion(w io.Writer) {
	fmt.Fprintf(w, "orpheus %s, Kubernetes API %s\n", node.Version(), cliversion.Get().GitVersion)
}

func table(w io.Writer, header string, fill func(row func(...any))) error {
	tw := tabwriter.NewWriter(w, 0, 4, 2, ' ', 0)
	fmt.Fprintln(tw, header)
	fill(func(cells ...any) {
		for i, c := range cells {
			if i > 0 {
				fmt.Fprint(tw, "\t")
			}
			fmt.Fprint(tw, c)
		}
		fmt.Fprintln(tw)
	})
	return tw.Flush()
}

func dash(s string) string {
	if s == "" {
		return "-"
	}
	return s
}
