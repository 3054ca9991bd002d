package gossip

import (
	"bytes"
	"compress/lzw"
	"context"
	"crypto/aes"
	"crypto/cipher"
	"crypto/rand"
	"encoding/binary"
	"encoding/json"
	"errors"
	"hash/crc32"
	"io"
	"net"
	"net/netip"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	pubsub "github.com/libp2p/go-libp2p-pubsub"
	"github.com/libp2p/go-libp2p/core/host"
	"github.com/libp2p/go-libp2p/core/network"
	"github.com/libp2p/go-libp2p/core/peer"
	"github.com/libp2p/go-libp2p/core/protocol"

	"github.com/orpheus-mesh/orpheus/gossip/store"
)

// rogue is a server that nobody admitted. It holds all that may leak: serf's key, every certificate, the authority's
// certificate, addresses, and frames that it overheard; but neither the authority's key nor a member's.
type rogue struct {
	t      *testing.T
	self   identity
	host   host.Host
	cfg    Config
	udp    net.PacketConn
	gossip []byte // serf's key
	victim *server
}

func newRogue(t *testing.T, victim *server) *rogue {
	cfg := configure(t, "rogue")
	self, err := loadIdentity(cfg)
	if err != nil {
		t.Fatal(err)
	}
	h, err := newGuest(cfg, self, multiaddrs(cfg.Listen)...)
	if err != nil {
		t.Fatal(err)
	}
	udp, err := net.ListenPacket("udp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _, _ = h.Close(), udp.Close() })
	r := &rogue{t: t, self: self, host: h, cfg: cfg, udp: udp, gossip: victim.Keys().Gossip[0], victim: victim}
	h.SetStreamHandler(helloProtocol, func(s network.Stream) { // whoever dials it sees a member's certificate
		defer s.Close()
		var theirs certificate
		_ = readMessage(s, maxHello, &theirs)
		_ = writeMessage(s, victim.cert)
	})
	return r
}

// say opens a stream to the victim, says something and returns what comes back within some seconds.
func (r *rogue) say(proto string, what []byte) []byte {
	ctx, cancel := context.WithTimeout(r.t.Context(), 8*time.Second)
	defer cancel()
	id := r.victim.self.id
	if err := r.host.Connect(ctx, peer.AddrInfo{ID: id, Addrs: multiaddrs(r.victim.advertise)}); err != nil {
		return nil
	}
	s, err := r.host.NewStream(ctx, id, protocol.ID(proto))
	if err != nil {
		return nil
	}
	defer func() { _ = s.Reset() }()
	_ = s.SetDeadline(time.Now().Add(7 * time.Second))
	_, _ = s.Write(what)
	_ = s.CloseWrite()
	out, _ := io.ReadAll(io.LimitReader(s, 1<<20))
	return out
}

// serf sends a packet of memberlist's, encrypted with the key of the mesh, to every server.
func (r *rogue) serf(all []*server, plain []byte) { r.sealed(all, 1, plain) }

// sealed is serf with a version of memberlist's encryption: 0 pads what it encrypts, and its last byte says by how much.
func (r *rogue) sealed(all []*server, version byte, plain []byte) {
	block, err := aes.NewCipher(r.gossip)
	if err != nil {
		r.t.Fatal(err)
	}
	gcm, err := cipher.NewGCM(block)
	if err != nil {
		r.t.Fatal(err)
	}
	nonce := make([]byte, gcm.NonceSize())
	_, _ = rand.Read(nonce)
	packet := gcm.Seal(append([]byte{version}, nonce...), nonce, plain, nil)
	if len(packet) > 1452 { // quic-go cuts off the rest, and the attack would prove nothing
		r.t.Fatalf("a packet of %d bytes", len(packet))
	}
	for range 3 {
		for _, s := range all {
			_, _ = r.udp.WriteTo(packet, net.UDPAddrFromAddrPort(s.advertise))
		}
	}
}

// compressed is a message that memberlist decompresses, whatever its settings say.
func compressed(lzw []byte) []byte { return ml(mlCompressed, packed("Algo", uint64(0), "Buf", lzw)) }

func squeezed(t *testing.T, message []byte) []byte {
	t.Helper()
	var b bytes.Buffer
	w := lzw.NewWriter(&b, lzw.LSB, 8)
	_, err := w.Write(message)
	if err = errors.Join(err, w.Close()); err != nil {
		t.Fatal(err)
	}
	return compressed(b.Bytes())
}

// swollen is LZW that no writer makes: n times the code 0x222, which stands for 290 zeros. It is nearly as regular as what it stands
// for, and can be compressed once more.
func swollen(n int) (out []byte) {
	var bits, have uint64
	last, width := uint64(257), uint64(9)
	put := func(code uint64) {
		for bits, have = bits|code<<have, have+width; have >= 8; bits, have = bits>>8, have-8 {
			out = append(out, byte(bits))
		}
		if last++; last == 1<<width && width < 12 {
			width++
		} else if last == 1<<width {
			last--
		}
	}
	put(0)
	for code := uint64(258); code <= 0x222; code++ {
		put(code) // the string before, and a zero more
	}
	for range n {
		put(0x222)
	}
	put(257) // the end
	return append(out, byte(bits))
}

// bundled is one message made of several.
func bundled(messages ...[]byte) []byte {
	b := []byte{mlCompound, byte(len(messages))}
	for _, m := range messages {
		b = binary.BigEndian.AppendUint16(b, uint16(len(m)))
	}
	return append(b, bytes.Join(messages, nil)...)
}

func summed(message []byte) []byte {
	return append(binary.BigEndian.AppendUint32([]byte{mlSummed}, crc32.ChecksumIEEE(message)), message...)
}

// allocated is what this process allocated so far, in bytes.
func allocated() uint64 {
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return m.TotalAlloc
}

// packed is msgpack of a struct: name, value, name, value…
func packed(fields ...any) []byte {
	b := []byte{0x80 | byte(len(fields)/2)}
	for _, f := range fields {
		switch f := f.(type) {
		case string:
			b = append(binary.BigEndian.AppendUint16(append(b, 0xda), uint16(len(f))), f...)
		case []byte:
			b = append(binary.BigEndian.AppendUint16(append(b, 0xda), uint16(len(f))), f...)
		case uint64:
			b = binary.BigEndian.AppendUint64(append(b, 0xcf), f)
		case bool:
			b = append(b, map[bool]byte{false: 0xc2, true: 0xc3}[f])
		}
	}
	return b
}

// The message types of memberlist and serf, versions 0.7 and 0.11.
const (
	mlSuspect, mlAlive, mlDead, mlUser = 3, 4, 5, 8
	serfLeave, serfEvent, serfQuery    = 0, 3, 4
)

func ml(kind byte, body []byte) []byte { return append([]byte{kind}, body...) }

func (r *rogue) alive(id ID, addr netip.AddrPort, incarnation uint64, name string) []byte {
	tags := append([]byte{255}, packed(tagName, name, tagRegion, "", tagZone, "")...)
	return ml(mlAlive, packed("Incarnation", incarnation, "Node", string(id), "Addr", addr.Addr().AsSlice(), "Port", uint64(addr.Port()),
		"Meta", tags, "Vsn", []byte{1, 5, 2, 2, 5, 4}))
}

// keyQuery is serf's own query by which an operator changes keys.
func (r *rogue) keyQuery(name string, key []byte, n uint64) []byte {
	request := append([]byte{7}, packed("Key", key)...)
	body := packed("LTime", n, "ID", n, "Addr", []byte{127, 0, 0, 1}, "Port", uint64(1), "SourceNode", "rogue", "Flags", uint64(0),
		"RelayFactor", uint64(0), "Timeout", uint64(time.Minute), "Name", "_serf_"+name, "Payload", request)
	return append([]byte{mlUser, serfQuery}, body...)
}

// TestARogueWithTheGossipKeyChangesNothing: after every attack each server has the records that it had, sees the members that it
// saw, none of them failed or gone, and calls them by their names.
func TestARogueWithTheGossipKeyChangesNothing(t *testing.T) {
	all := cluster(t, 3)
	used := all[0].token()
	late := configure(t, "late")
	if err := Join(t.Context(), late, used); err != nil { // its token is used up; it never starts
		t.Fatal(err)
	}
	all[0].put("kept", "1")
	agree(t, 20*time.Second, all...)
	victim := all[1]
	victim.Serve("/test/room/1", func(context.Context, ID, []byte) ([]byte, error) {
		victim.put("by-the-rogue", "x")
		return []byte("done"), nil
	})
	r := newRogue(t, victim)
	root, records := victim.Store().Root()

	forged, err := newKeys(time.Now())
	if err != nil {
		t.Fatal(err)
	}
	forged.MeshID = victim.Keys().MeshID
	mine, err := forged.issue(r.self.ID(), "rogue", time.Now())
	if err != nil {
		t.Fatal(err)
	}
	renamed := victim.cert
	renamed.Claim = []byte(strings.Replace(string(renamed.Claim), string(victim.Self().ID), string(r.self.ID()), 1))
	frame := func(v any) []byte {
		b, err := json.Marshal(v)
		if err != nil {
			t.Fatal(err)
		}
		return append(binary.BigEndian.AppendUint32(nil, uint32(len(b))), b...)
	}
	hello := func(c certificate) func() {
		return func() { r.say(helloProtocol, frame(c)); r.say("/test/room/1", frame("x")) }
	}
	join := func(messages ...any) func() {
		var all []byte
		for _, m := range messages {
			all = append(all, frame(m)...)
		}
		return func() {
			if out := string(r.say(joinProtocol, all)); strings.Contains(out, "caKey\":\"LS") {
				t.Error("the keys of the mesh were given away")
			}
		}
	}
	ask := joinAsk{Nonce: make([]byte, 32)}
	usedToken, err := parseToken(used)
	if err != nil {
		t.Fatal(err)
	}
	newKey := make([]byte, 32)
	bomb := squeezed(t, compressed(swollen(40_000))) // 12 MB in less than 1.2 kB
	id, addr := string(victim.Self().ID), victim.advertise
	raw := func(p string, b string) func() { return func() { r.say(p, []byte(b)) } }
	packet := func(b []byte) func() { return func() { r.serf(all, b) } }

	attacks := []struct {
		name string
		do   func()
	}{
		{"reconcile without a hello", raw(reconcileProtocol, "\x01t")},
		{"propose without a hello", raw(proposeProtocol, "\x00\x00\x00\x01r")},
		{"a room's protocol without a hello", raw("/test/room/1", "\x00\x00\x00\x01x")},
		{"a goodbye without a hello", raw(farewellProtocol, "\x02")},
		{"a check without a hello", raw(checkProtocol, "\x01")},
		{"serf's push and pull without a hello", raw(serfProtocol, "\x06\x00")},
		{"gossip without a hello", raw(string(pubsub.GossipSubID_v11), "\x10\x0a\x0e\x08\x01\x12\x0aorpheus/xx")},
		{"a gossipsub router of its own", r.floods},
		{"an empty hello", hello(certificate{})},
		{"a certificate by an authority of its own", hello(mine)},
		{"a member's certificate", hello(victim.cert)},
		{"a member's certificate with its own name in it", hello(renamed)},
		{"a hello that is no JSON", raw(helloProtocol, "\x00\x00\x00\x03abc")},
		{"a hello of 4 GiB", raw(helloProtocol, "\xff\xff\xff\xff")},
		{"a join with a guessed secret", join(ask, joinPlea{Secret: make([]byte, 16), Name: "rogue"})},
		{"a join with a token that was used", join(ask, joinPlea{Secret: usedToken.secret[:], Name: "rogue"})},
		{"a join without a nonce", join(joinAsk{}, joinPlea{Secret: usedToken.secret[:], Name: "rogue"})},
		{"a join without a name", join(ask, joinPlea{Secret: usedToken.secret[:]})},
		{"twenty joins that never end", r.hangs},
		{"serf: itself as a member", packet(r.alive(r.self.ID(), r.cfg.Listen, 1, "rogue"))},
		{"serf: a ghost", packet(r.alive("12D3KooWGRUfvQ2hYyBQUrsxDcPbW4vfHdGb8s6wFUVNoQRh1fGr", netip.MustParseAddrPort("127.0.0.1:9"), 1, "ghost"))},
		{"serf: a name that is no peer ID", packet(r.alive("../../etc", netip.MustParseAddrPort("127.0.0.1:9"), 1, "x"))},
		{"serf: a member under another name", packet(r.alive(ID(id), addr, 1_000_000, "renamed"))},
		{"serf: a member at the rogue's address", packet(r.alive(ID(id), r.cfg.Listen, 2_000_000, "n1"))},
		{"serf: a member is suspect", packet(ml(mlSuspect, packed("Incarnation", uint64(3_000_000), "Node", id, "From", string(all[0].Self().ID))))},
		{"serf: a member is dead", packet(ml(mlDead, packed("Incarnation", uint64(4_000_000), "Node", id, "From", string(all[0].Self().ID))))},
		{"serf: a member says goodbye", func() {
			r.serf(all, append([]byte{mlUser, serfLeave}, packed("LTime", uint64(5_000_000), "Node", id, "Prune", false)...))
			r.serf(all, ml(mlDead, packed("Incarnation", uint64(5_000_000), "Node", id, "From", id)))
		}},
		{"serf: a member is to be forgotten", packet(append([]byte{mlUser, serfLeave}, packed("LTime", uint64(6_000_000), "Node", id, "Prune", true)...))},
		{"serf: an event", packet(append([]byte{mlUser, serfEvent}, packed("LTime", uint64(7_000_000), "Name", "deploy", "Payload", []byte("x"), "CC", false)...))},
		{"serf: a bomb", packet(squeezed(t, make([]byte, 400_000)))},
		{"serf: a bomb in a bomb", packet(bomb)},
		{"serf: a bomb in a bundle", packet(bundled(ml(mlUser, nil), bomb))},
		{"serf: a bomb in a bundle in a bundle", packet(bundled(bundled(bomb)))},
		{"serf: a bomb with a checksum", packet(summed(bomb))},
		{"serf: a bundle that is cut short", packet([]byte{mlCompound, 255, 0, 1, mlCompressed})},
		{"serf: more padding than packet", func() { r.sealed(all, 0, append(make([]byte, 31), 255)) }},
		{"serf: another key", func() {
			for n, name := range []string{"install-key", "use-key"} {
				r.serf(all, r.keyQuery(name, newKey, uint64(8_000_000+n)))
				time.Sleep(50 * time.Millisecond) // the queries must arrive in order
			}
			r.serf(all, r.keyQuery("remove-key", r.gossip, 8_000_009))
		}},
	}
	if len(attacks) < 20 {
		t.Fatalf("%d attacks", len(attacks))
	}
	named := map[ID]string{}
	for _, s := range all {
		named[s.Self().ID] = s.cfg.Name
	}
	calm := watched(t, all, named)
	var wg sync.WaitGroup
	for _, a := range attacks {
		if strings.HasPrefix(a.name, "serf:") {
			continue
		}
		wg.Go(a.do) // each of these waits for some seconds to be refused
	}
	wg.Wait()
	calm("strangers' streams")
	for _, a := range attacks {
		if strings.HasPrefix(a.name, "serf:") {
			before := allocated()
			a.do()
			calm(a.name)
			if got := allocated() - before; got > 6<<20 { // three idle servers take up to 2 MB meanwhile
				t.Errorf("%s: %d MB were allocated", a.name, got>>20)
			}
		}
	}
	for _, s := range all {
		if got := s.link().packets.refused.Load(); got < 6 || got > 21 { // 21 were sent, and UDP may lose some
			t.Errorf("%s refused %d packets", s.cfg.Name, got)
		}
		if got, n := s.Store().Root(); got != root || n != records {
			t.Errorf("%s: its store changed", s.cfg.Name)
		}
		eventually(t, 10*time.Second, s.cfg.Name+" has its key on the ring again", func() bool {
			keys := s.link().ring.GetKeys()
			return len(keys) == 1 && string(keys[0]) == string(r.gossip)
		})
		for _, k := range s.book.all() {
			if named[k.ID] == "" && k.ID != selfOf(t, late) {
				t.Errorf("%s remembers %s", s.cfg.Name, k.ID)
			}
		}
	}
	for _, s := range all { // and all is as before: the mesh works
		s.put("after-"+s.cfg.Name, "2")
	}
	agree(t, 20*time.Second, all...)
	for _, s := range all {
		for _, o := range all {
			s.await(o, Alive, 20*time.Second)
		}
	}
}

func selfOf(t *testing.T, cfg Config) ID {
	self, err := loadIdentity(cfg)
	if err != nil {
		t.Fatal(err)
	}
	return self.ID()
}

// watched tells after every attack whether anybody was called failed, gone or by another name, at any moment since.
func watched(t *testing.T, all []*server, named map[ID]string) (calm func(attack string)) {
	var mu sync.Mutex
	var wrong []string
	ctx, stop := context.WithCancel(t.Context())
	var wg sync.WaitGroup
	for _, s := range all {
		wake, end := s.Watch()
		wg.Go(func() {
			defer end()
			for {
				select {
				case <-ctx.Done():
					return
				case <-wake:
				}
				for _, m := range s.Members() {
					if want, ok := named[m.ID]; !ok && m.Name != "late" || ok && m.Name != want || ok && (m.State == Failed || m.State == Left) {
						mu.Lock()
						wrong = append(wrong, s.cfg.Name+" sees "+m.Name+" ("+string(m.ID)+") "+m.State.String())
						mu.Unlock()
					}
				}
			}
		})
	}
	t.Cleanup(func() { stop(); wg.Wait() })
	return func(attack string) {
		t.Helper()
		time.Sleep(300 * time.Millisecond) // real sockets: what was sent has to arrive
		mu.Lock()
		defer mu.Unlock()
		for _, w := range wrong {
			t.Errorf("%s: %s", attack, w)
		}
		wrong = nil
	}
}

// floods joins the topic with a gossipsub router of its own and publishes a forged frame there.
func (r *rogue) floods() {
	ctx, cancel := context.WithTimeout(r.t.Context(), 3*time.Second)
	defer cancel()
	_ = r.host.Connect(ctx, peer.AddrInfo{ID: r.victim.self.id, Addrs: multiaddrs(r.victim.advertise)})
	ps, err := pubsub.NewGossipSub(ctx, r.host, pubsub.WithMessageSignaturePolicy(pubsub.StrictNoSign), pubsub.WithNoAuthor(), pubsub.WithFloodPublish(true), pubsub.WithMessageIdFn(messageID))
	if err != nil {
		r.t.Error(err)
		return
	}
	topic, err := ps.Join("orpheus/" + r.victim.Keys().MeshID)
	if err != nil {
		r.t.Error(err)
		return
	}
	for range 20 {
		_ = topic.Publish(ctx, []byte("rforged"))
		time.Sleep(100 * time.Millisecond)
	}
}

// hangs opens joins and says nothing.
func (r *rogue) hangs() {
	ctx, cancel := context.WithTimeout(r.t.Context(), 5*time.Second)
	defer cancel()
	_ = r.host.Connect(ctx, peer.AddrInfo{ID: r.victim.self.id, Addrs: multiaddrs(r.victim.advertise)})
	for range 20 {
		if s, err := r.host.NewStream(ctx, r.victim.self.id, joinProtocol); err == nil {
			defer func() { _ = s.Reset() }()
		}
	}
	<-ctx.Done()
}

// TestForgedAndReplayedFrames: even a member can pass on nothing that its author did not sign, nor bring back what is over.
func TestForgedAndReplayedFrames(t *testing.T) {
	s := found1(t, "n0")
	author, err := loadIdentity(configure(t, "author"))
	if err != nil {
		t.Fatal(err)
	}
	src, frames := recorder(t, author)
	put := func(w store.Write) *store.Object {
		t.Helper()
		o, err := src.Write(t.Context(), w)
		if err != nil {
			t.Fatal(err)
		}
		return o
	}
	key := store.Key{Kind: thing.Kind, Name: "x"}
	first := put(store.Write{Key: key, Body: []byte("old body"), Human: true})
	second := put(store.Write{Key: key, Base: first, Body: []byte("new body"), Human: true})
	put(store.Write{Key: key, Base: second, Op: store.Delete, Human: true})
	old, changed, deleted := <-frames, <-frames, <-frames

	for name, b := range map[string][]byte{
		"another body":          []byte(strings.Replace(string(old), "old body", "own body", 1)),
		"another author":        []byte(strings.Replace(string(old), string(author.ID()), string(s.Self().ID), 1)),
		"another signature":     flipped(old, len(old)-1),
		"cut short":             old[:len(old)-1],
		"another type of frame": append([]byte{'q'}, old[1:]...),
		"a bomb of lengths":     {'r', 0xff, 0xff, 0xff, 0xff, 0x0f},
		"too large":             append([]byte{'r'}, make([]byte, 65<<10)...),
	} {
		if err := s.Store().Receive("peer", b); err == nil {
			t.Errorf("%s: taken, and would be relayed", name)
		}
	}
	if _, n := s.Store().Root(); n != 0 {
		t.Fatalf("%d records of forged frames", n)
	}
	for _, b := range [][]byte{deleted, changed, old, old, deleted, changed, old} { // in any order, as often as one likes
		if err := s.Store().Receive("peer", b); err != nil {
			t.Fatal(err)
		}
	}
	eventually(t, 10*time.Second, "the deletion", func() bool { _, n := s.Store().Root(); return n == 1 && s.Store().Tombstoned(first.UID) })
	for range 3 {
		if err := s.Store().Receive("peer", old); err != nil {
			t.Fatal(err)
		}
	}
	s.put("after", "x") // the inbox is worked off in order: the replays came before
	if o, _ := s.Store().Get(key); o != nil {
		t.Error("a replay resurrected what was deleted")
	}
}

// eventually looks at what wakes nobody.
func eventually(t *testing.T, within time.Duration, what string, ok func() bool) {
	t.Helper()
	for begun := time.Now(); !ok(); time.Sleep(20 * time.Millisecond) {
		if time.Since(begun) > within {
			t.Fatalf("waited %s in vain: %s", within, what)
		}
	}
}

func flipped(b []byte, i int) []byte {
	out := append([]byte(nil), b...)
	out[i] ^= 1
	return out
}

// recorder is a store of the author's, and the frames that it publishes.
func recorder(t *testing.T, author identity) (*store.Store, <-chan []byte) {
	frames := make(chan []byte, 16)
	src, err := store.Open(store.Config{Dir: t.TempDir(), Self: string(author.ID()), Sign: author.key.Sign, Verify: verify,
		Publish: func(b []byte) { frames <- b }})
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- src.Run(ctx) }()
	t.Cleanup(func() {
		stop()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	for {
		_, err := src.Write(t.Context(), store.Write{Key: store.Key{Kind: "mesh/probes", Name: "none"}, Op: store.Delete})
		if !strings.Contains(err.Error(), store.ErrStopped.Error()) {
			return src, frames
		}
		time.Sleep(time.Millisecond)
	}
}
