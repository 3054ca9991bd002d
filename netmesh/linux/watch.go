package linux

import (
	"context"
	"errors"
	"os"
	"time"

	"github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"
)

// watch calls changed after every change of links, addresses, routes and lost neighbours of the host, until ctx ends.
// It is a hint: when the kernel drops events because we are slow, that too counts as a change.
func watch(ctx context.Context, netNS int, changed func()) error {
	c, err := netlink.Dial(unix.NETLINK_ROUTE, &netlink.Config{
		NetNS:  netNS,
		Groups: unix.RTMGRP_LINK | unix.RTMGRP_IPV4_IFADDR | unix.RTMGRP_IPV4_ROUTE | unix.RTMGRP_NEIGH,
	})
	if err != nil {
		return err
	}
	stop := context.AfterFunc(ctx, func() { _ = c.SetDeadline(time.Unix(1, 0)) }) // wakes Receive
	defer c.Close()
	defer stop()
	for {
		messages, err := c.Receive()
		if ctx.Err() != nil {
			return nil
		}
		if errors.Is(err, os.ErrDeadlineExceeded) {
			return nil
		}
		if err != nil && !errors.Is(err, unix.ENOBUFS) {
			return err
		}
		if err != nil || tells(messages) {
			changed()
		}
	}
}

// tells leaves out what happens all the time on a busy link: neighbours that are seen again.
func tells(messages []netlink.Message) bool {
	for _, m := range messages {
		if m.Header.Type != unix.RTM_NEWNEIGH {
			return true
		}
	}
	return false
}
