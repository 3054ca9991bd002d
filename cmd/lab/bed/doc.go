// Package bed builds several real hosts on one machine, and breaks them on purpose.
//
// A host is a network namespace with one link into the switch of its region, a name of its own (uts namespace), a real
// Docker Engine, and one cgroup for all of it: engine, containers and every daemon started with [Bed.Start]. What is in
// one cgroup can be frozen in one moment, killed in one moment (a power cut) and accounted for.
//
//	  m1    m3            m2    m4        hosts     10.201.0.11, .13     10.202.0.12, .14
//	   │     │             │     │        (network namespace + cgroup + dockerd each)
//	┌──┴─────┴──┐       ┌──┴─────┴──┐
//	│  m-sw1    │       │  m-sw2    │     switches  one bridge in a namespace of its own per region
//	└──┬─────┬──┘       └──┬─────┬──┘
//	   │     └── m-client ─┼─────┘        client    an outsider with a leg in every region (10.20x.0.2)
//	   └──────── m-router ─┘              router    10.20x.0.1, and the relay that delays between regions
//
// Faults of the network are made on the switches and the router, never inside the hosts: a host cannot see, flush or
// outlive them by a reboot.
//
// Nothing is kept in memory. Every method finds out from the directory of the lab and from the kernel what there is, so
// that any process may take over from one that died in the middle, and [Bed.Down] leaves nothing behind.
package bed
