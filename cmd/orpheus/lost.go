package main

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/orpheus-mesh/orpheus/node/control"
)

func lostAndFound() *cobra.Command {
	cmd := &cobra.Command{Use: "lost-and-found", Short: "What this server may neither merge by itself nor throw away", Args: cobra.NoArgs,
		Long: `Lost-and-found holds objects that came back from before the time to which deletions are remembered, and may have been deleted
meanwhile; and what was read out of a damaged database that no other server knows. It is of this server alone. A person decides.`}
	cmd.RunE = listLost
	cmd.AddCommand(
		&cobra.Command{Use: "list", Short: "List the entries, the newest first", Args: cobra.NoArgs, RunE: listLost},
		&cobra.Command{Use: "show ID", Short: "Show an entry whole", Args: cobra.ExactArgs(1), RunE: showLost},
		admitLost(),
		&cobra.Command{Use: "drop ID...", Short: "Throw entries away", Args: cobra.MinimumNArgs(1), RunE: func(cmd *cobra.Command, ids []string) error {
			for _, id := range ids {
				if err := daemon(cmd).DropLost(cmd.Context(), id); err != nil {
					return err
				}
				fmt.Fprintf(cmd.OutOrStdout(), "%s dropped\n", id)
			}
			return nil
		}})
	return cmd
}

func admitLost() *cobra.Command {
	cmd := &cobra.Command{Use: "admit ID...", Short: "Take entries back into the mesh"}
	replace := cmd.Flags().Bool("replace", false, "also where an object of that name lives now")
	all := cmd.Flags().Bool("all", false, "all entries, the oldest first; those that cannot be admitted stay")
	cmd.RunE = func(cmd *cobra.Command, ids []string) error {
		if *all == (len(ids) > 0) {
			return fmt.Errorf("name entries, or give --all")
		}
		if *all {
			entries, err := daemon(cmd).Lost(cmd.Context())
			if err != nil {
				return err
			}
			for i := range entries {
				ids = append(ids, entries[len(entries)-1-i].ID)
			}
		}
		failed := 0
		for _, id := range ids {
			err := daemon(cmd).AdmitLost(cmd.Context(), id, *replace)
			if err != nil && !*all {
				return err
			}
			if err != nil {
				failed++
				fmt.Fprintln(cmd.ErrOrStderr(), err)
				continue
			}
			fmt.Fprintf(cmd.OutOrStdout(), "%s admitted\n", id)
		}
		if failed > 0 {
			return fmt.Errorf("%d of %d entries stay in lost-and-found", failed, len(ids))
		}
		return nil
	}
	return cmd
}

func listLost(cmd *cobra.Command, _ []string) error {
	entries, err := daemon(cmd).Lost(cmd.Context())
	if err != nil {
		return err
	}
	if len(entries) == 0 {
		fmt.Fprintln(cmd.OutOrStdout(), "lost-and-found is empty")
		return nil
	}
	return table(cmd.OutOrStdout(), "ID\tKIND\tOBJECT\tWHAT\tBY\tAT\tWHY", func(row func(...any)) {
		for _, e := range entries {
			row(e.ID, e.Kind, objectOf(e), e.What, e.Edit.Author, e.Edit.Time.UTC().Format(time.RFC3339), e.Why)
		}
	})
}

func showLost(cmd *cobra.Command, args []string) error {
	entries, err := daemon(cmd).Lost(cmd.Context())
	if err != nil {
		return err
	}
	entries = slices.DeleteFunc(entries, func(e control.Lost) bool { return args[0] == "" || !strings.HasPrefix(e.ID, args[0]) })
	switch len(entries) {
	case 0:
		return fmt.Errorf("%s: lost-and-found has no such entry; `orpheus lost-and-found` lists them", args[0])
	case 1:
		e := entries[0]
		fmt.Fprintf(cmd.OutOrStdout(), "%s %s: %s, %s\n", e.Kind, objectOf(e), e.What, e.Why)
		printEdit(cmd.OutOrStdout(), "written", e.Edit, true)
		return nil
	}
	return fmt.Errorf("%s: %d entries begin so; `orpheus lost-and-found` lists them", args[0], len(entries))
}

func objectOf(e control.Lost) string { return strings.TrimPrefix(e.Namespace+"/"+e.Name, "/") }
