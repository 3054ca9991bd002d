package linux

import (
	"encoding/binary"
	"errors"
	"fmt"

	"github.com/google/nftables"
	"github.com/google/nftables/userdata"
	"github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"
)

// found is our table as the kernel has it.
type found struct {
	exists   bool
	chains   map[string]foundChain
	sets     map[string]map[string]string // set → key → value, see element
	foreign  []*nftables.Set              // sets that are not of the layout
	complete bool                         // all of the layout's sets are there
}

type foundChain struct {
	spec  *nftables.Chain
	rules []string // fingerprints in order; "" for a rule without
}

// bufferBytes suffices for the largest transaction and its acknowledgements (10,000 services are about 4 MiB).
const bufferBytes = 32 << 20

// dial returns the connection to nftables. It is kept, since closing one makes the kernel wait some 10 ms for what the last transaction
// removed; but whoever fails on it calls hangUp, so that an answer left unread is never taken for another's.
func (t *table) dial() (*nftables.Conn, error) {
	if t.conn != nil {
		return t.conn, nil
	}
	c, err := nftables.New(nftables.WithNetNSFd(t.netNS), nftables.AsLasting(), nftables.WithSockOptions(widen))
	if err != nil {
		return nil, fmt.Errorf("connect to nftables: %w", err)
	}
	t.conn = c
	return c, nil
}

func (t *table) hangUp() {
	if t.conn != nil {
		_ = t.conn.CloseLasting()
	}
	if t.asker != nil {
		_ = t.asker.Close()
	}
	t.conn, t.asker = nil, nil
}

func widen(c *netlink.Conn) error {
	return errors.Join(c.SetWriteBuffer(bufferBytes), c.SetReadBuffer(bufferBytes))
}

// generation is the number of the last transaction that changed any nftables rule of this namespace.
func (t *table) generation() (uint32, error) {
	replies, err := t.ask(unix.NFT_MSG_GETGEN, 0, nil)
	if err != nil || len(replies) == 0 {
		return 0, fmt.Errorf("read the generation of nftables: %w", err)
	}
	ad, err := netlink.NewAttributeDecoder(replies[0].Data[4:])
	if err != nil {
		return 0, err
	}
	ad.ByteOrder = binary.BigEndian
	for ad.Next() {
		if ad.Type() == unix.NFTA_GEN_ID {
			return ad.Uint32(), nil
		}
	}
	return 0, fmt.Errorf("read the generation of nftables: %w", errors.Join(ad.Err(), errors.New("no number in the answer")))
}

// ask sends one nftables request and collects the answers.
func (t *table) ask(kind uint16, flags netlink.HeaderFlags, attrs []netlink.Attribute) ([]netlink.Message, error) {
	if t.asker == nil {
		c, err := netlink.Dial(unix.NETLINK_NETFILTER, &netlink.Config{NetNS: t.netNS})
		if err != nil {
			return nil, err
		}
		t.asker = c
	}
	body, err := netlink.MarshalAttributes(attrs)
	if err != nil {
		return nil, err
	}
	replies, err := t.asker.Execute(netlink.Message{
		Header: netlink.Header{Type: netlink.HeaderType(unix.NFNL_SUBSYS_NFTABLES<<8 | kind), Flags: netlink.Request | flags},
		Data:   append([]byte{unix.NFPROTO_IPV4, unix.NFNETLINK_V0, 0, 0}, body...),
	})
	if err != nil {
		t.hangUp()
	}
	return replies, err
}

// read takes a picture of our table that no transaction has torn.
func (t *table) read() (*found, uint32, error) {
	const tries = 5
	for range tries {
		before, err := t.generation()
		if err != nil {
			return nil, 0, err
		}
		f, err := t.readOnce()
		if err != nil {
			t.hangUp()
			return nil, 0, fmt.Errorf("read table %s: %w", tableName, err)
		}
		if after, err := t.generation(); err == nil && after == before {
			return f, before, nil
		}
	}
	return nil, 0, fmt.Errorf("read table %s: the rules of this host changed %d times meanwhile", tableName, tries)
}

func (t *table) readOnce() (*found, error) {
	f := &found{chains: map[string]foundChain{}, sets: map[string]map[string]string{}}
	c, err := t.dial()
	if err != nil {
		return nil, err
	}
	tables, err := c.ListTablesOfFamily(nftables.TableFamilyIPv4)
	if err != nil {
		return nil, err
	}
	for _, k := range tables {
		f.exists = f.exists || k.Name == tableName
	}
	if !f.exists {
		return f, nil
	}
	if err := t.readChains(c, f); err != nil {
		return nil, err
	}
	return f, t.readSets(c, f)
}

func (t *table) readChains(c *nftables.Conn, f *found) error {
	chains, err := c.ListChainsOfTableFamily(nftables.TableFamilyIPv4)
	if err != nil {
		return fmt.Errorf("list chains: %w", err)
	}
	for _, k := range chains {
		if k.Table.Name == tableName {
			f.chains[k.Name] = foundChain{spec: k}
		}
	}
	rules, err := t.ask(unix.NFT_MSG_GETRULE, netlink.Dump, []netlink.Attribute{{Type: unix.NFTA_RULE_TABLE, Data: []byte(tableName + "\x00")}})
	if err != nil {
		return fmt.Errorf("list rules: %w", err)
	}
	for _, m := range rules {
		ad, err := netlink.NewAttributeDecoder(m.Data[4:])
		if err != nil {
			return fmt.Errorf("decode a rule: %w", err)
		}
		var in, table, print string
		for ad.Next() {
			switch ad.Type() {
			case unix.NFTA_RULE_TABLE:
				table = ad.String()
			case unix.NFTA_RULE_CHAIN:
				in = ad.String()
			case unix.NFTA_RULE_USERDATA:
				print, _ = userdata.GetString(ad.Bytes(), userdata.TypeComment)
			}
		}
		if k, ok := f.chains[in]; ok && table == tableName {
			k.rules = append(k.rules, print)
			f.chains[in] = k
		}
	}
	return nil
}

func (t *table) readSets(c *nftables.Conn, f *found) error {
	sets, err := c.GetSets(t.kernel)
	if err != nil {
		return fmt.Errorf("list sets: %w", err)
	}
	f.complete = true
	known := map[string]*nftables.Set{}
	for _, s := range sets {
		known[s.Name] = s
	}
	for _, name := range setNames {
		s := known[name]
		delete(known, name)
		if s == nil || !sameShape(s, newSet(t.kernel, name)) {
			f.complete = false
			continue
		}
		if f.sets[name], err = readElements(c, newSet(t.kernel, name)); err != nil {
			return fmt.Errorf("list set %s: %w", name, err)
		}
	}
	for _, s := range known {
		f.foreign = append(f.foreign, s)
	}
	return nil
}

// sameShape compares what the library reports truly: of maps to verdicts it gives the value's type for the key's.
func sameShape(have, want *nftables.Set) bool {
	verdicts := want.IsMap && want.DataType.Bytes == 0
	return have.IsMap == want.IsMap && (verdicts || have.KeyType.Bytes == want.KeyType.Bytes)
}

func readElements(c *nftables.Conn, s *nftables.Set) (map[string]string, error) {
	all, err := c.GetSetElements(s)
	if err != nil {
		return nil, err
	}
	out := make(map[string]string, len(all))
	for _, e := range all {
		value := string(e.Val)
		if s.IsMap && s.DataType.Bytes == 0 {
			if value, err = verdictChain(e.Val); err != nil {
				return nil, err
			}
		}
		out[string(e.Key)] = value
	}
	return out, nil
}

func verdictChain(b []byte) (string, error) {
	ad, err := netlink.NewAttributeDecoder(b)
	if err != nil {
		return "", fmt.Errorf("decode a verdict: %w", err)
	}
	for ad.Next() {
		if ad.Type() == unix.NFTA_VERDICT_CHAIN {
			return ad.String(), nil
		}
	}
	return "", ad.Err()
}
