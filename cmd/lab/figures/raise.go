package figures

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/orpheus-mesh/orpheus/cmd/lab/demo"
	"github.com/orpheus-mesh/orpheus/cmd/lab/images"
)

// Raise brings up what is missing: hosts, daemons, images, and with app the to-do application. What stands is left as it is.
func (l *Lab) Raise(ctx context.Context, app bool) error {
	if err := l.M.Bed.Up(ctx); err != nil {
		return err
	}
	if err := l.heal(); err != nil {
		return err
	}
	hosts, err := l.M.Bed.Hosts()
	if err != nil {
		return err
	}
	l.Hosts = nil
	for _, h := range hosts {
		l.Hosts = append(l.Hosts, h.Name)
	}
	if err := l.found(ctx); err != nil {
		return err
	}
	if err := l.haveImages(ctx); err != nil {
		return err
	}
	if !app {
		return nil
	}
	if err := l.haveApp(ctx); err != nil {
		return err
	}
	return l.Whole(ctx)
}

// heal ends the faults that a run which was killed may have left; a frozen host has been refused by Up already.
func (l *Lab) heal() error {
	errs := []error{l.M.Bed.Merge()}
	hosts, err := l.M.Bed.Hosts()
	if err != nil {
		return err
	}
	for _, h := range hosts {
		errs = append(errs, l.M.Bed.Loss(h.Name, 0))
	}
	return errors.Join(errs...)
}

// found resumes the daemons of hosts that belong to the mesh and lets the others join.
func (l *Lab) found(ctx context.Context) error {
	var members, strangers []string
	for _, h := range l.Hosts {
		belongs, err := l.belongs(h)
		if err != nil {
			return err
		}
		if belongs {
			members = append(members, h)
		} else {
			strangers = append(strangers, h)
		}
	}
	for _, h := range members {
		if _, ok := l.M.PID(h); ok {
			continue
		}
		if err := l.M.Up(ctx, h, ""); err != nil {
			return err
		}
	}
	if len(members) == 0 {
		if err := l.Stage.Found(ctx, l.Hosts[0]); err != nil {
			return err
		}
		members, strangers = l.Hosts[:1], l.Hosts[1:]
	}
	for _, h := range strangers {
		if err := l.Stage.Join(ctx, members[0], h); err != nil {
			return err
		}
	}
	return nil
}

// belongs tells whether a host has an identity in a mesh: started without a token, one that has none would found a mesh of its own.
func (l *Lab) belongs(host string) (bool, error) {
	path, err := l.M.Bed.Path(host, "orpheus", "mesh", "member.cert")
	if err != nil {
		return false, err
	}
	_, err = os.Stat(path)
	if errors.Is(err, os.ErrNotExist) {
		return false, nil
	}
	return err == nil, err
}

func (l *Lab) haveImages(ctx context.Context) error {
	c, err := l.control(l.Hosts[0])
	if err != nil {
		return err
	}
	known, err := c.Images(ctx)
	if err != nil {
		return err
	}
	for _, want := range []string{images.Busybox, images.Redis, images.FrontendV1, images.FrontendV2, images.BackendV1} {
		if !slices.ContainsFunc(known, func(i imageRecord) bool { return strings.HasSuffix(i.Ref, "/"+want) }) {
			return l.Stage.BuildImages(ctx, l.Hosts[0])
		}
	}
	return nil
}

func (l *Lab) haveApp(ctx context.Context) error {
	client, err := l.client(ctx, l.Hosts[0])
	if err != nil {
		return err
	}
	_, err = client.AppsV1().Deployments(demo.Namespace).Get(ctx, "frontend", metav1.GetOptions{})
	if apierrors.IsNotFound(err) {
		return l.Stage.Deploy(ctx, l.Hosts[0])
	}
	if err != nil {
		return fmt.Errorf("look for the application: %w", err)
	}
	return nil
}

// settleLimit bounds the wait for a lab that is whole again: surplus pods may take their whole grace period.
const settleLimit = 3 * time.Minute
