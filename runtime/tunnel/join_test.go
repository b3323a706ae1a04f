package tunnel

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"testing"
	"testing/synctest"
	"time"

	"gvisor.dev/gvisor/pkg/buffer"
)

// joined is a joiner that records what it delivers.
type joined struct {
	joiner
	out [][]byte
}

func newJoined() *joined {
	j := &joined{}
	j.deliver = func(head *buffer.View, body buffer.Buffer) {
		j.out = append(j.out, append(bytes.Clone(head.AsSlice()), body.Flatten()...))
		head.Release()
		body.Release()
	}
	return j
}

func (j *joined) arrive(packet []byte, more bool) {
	h := headersLength(packet)
	var body *buffer.View
	if h < len(packet) {
		body = buffer.NewViewWithData(packet[h:])
	}
	j.add(buffer.NewViewWithData(packet[:h]), body, more)
}

// count returns the number of packets that were delivered.
func (j *joined) count() int {
	j.mu.Lock()
	defer j.mu.Unlock()
	return len(j.out)
}

const (
	stamp1 = "\x01\x01\x08\x0aaaaabbbb"
	stamp2 = "\x01\x01\x08\x0aaaacbbbd"
	sack   = "\x01\x01\x05\x0aaaaabbbb"
)

func TestJoin(t *testing.T) {
	t.Parallel()
	synctest.Test(t, testJoin) // the time in the bubble does not advance, so no segment times out
}

func testJoin(t *testing.T) {
	const ack, psh = flagACK, flagACK | flagPSH
	for name, c := range map[string]struct {
		in   [][]byte
		more bool
		want int // packets that come out
	}{
		"a burst": {[][]byte{
			segment(1, ack, "", noise(10)), segment(11, ack, "", noise(10)),
			segment(21, psh, "", noise(5)),
		}, false, 1},
		"two bursts": {[][]byte{
			segment(1, ack, "", noise(10)), segment(11, psh, "", noise(10)),
			segment(21, psh, "", noise(5)),
		}, false, 2},
		"read together": {
			[][]byte{segment(1, psh, "", noise(10)), segment(11, psh, "", noise(10))}, true, 1,
		},
		"across zero": {
			[][]byte{segment(1<<32-5, ack, "", noise(10)), segment(5, psh, "", noise(10))}, false,
			1,
		},
		"a gap": {
			[][]byte{segment(1, ack, "", noise(10)), segment(12, psh, "", noise(10))}, false, 2,
		},
		"twice": {
			[][]byte{segment(1, ack, "", noise(10)), segment(1, psh, "", noise(10))}, false, 2,
		},
		"time goes on": {
			[][]byte{segment(1, ack, stamp1, noise(10)), segment(11, psh, stamp2, noise(10))},
			false, 1,
		},
		"other options": {
			[][]byte{segment(1, ack, stamp1, noise(10)), segment(11, psh, sack, noise(10))}, false,
			2,
		},
		"options come": {
			[][]byte{segment(1, ack, "", noise(10)), segment(11, psh, stamp1, noise(10))}, false, 2,
		},
		"an empty one": {
			[][]byte{segment(1, ack, "", noise(10)), segment(11, ack, "", nil)}, false, 2,
		},
		"FIN": {
			[][]byte{segment(1, ack, "", noise(10)), segment(11, psh|flagFIN, "", noise(10))},
			false, 2,
		},
		"SYN with data": {[][]byte{segment(1, flagSYN, "", noise(10))}, false, 1},
		"no TCP": {[][]byte{
			segment(1, ack, "", noise(10)),
			ip(goldenTerms.host.Addr(), goldenTerms.device, 58, noise(8)),
		}, false, 2},
		"up to the limit": {[][]byte{
			segment(1, ack, "", noise(gsoLimit/2)),
			segment(1+gsoLimit/2, psh, "", noise(gsoLimit/2)),
		}, false, 1},
		"beyond the limit": {[][]byte{
			segment(1, ack, "", noise(gsoLimit/2)),
			segment(1+gsoLimit/2, psh, "", noise(gsoLimit/2+1)),
		}, false, 2},
		"larger than allowed": {
			[][]byte{segment(1, ack, "", noise(65_400)), segment(65_401, psh, "", noise(10))}, true,
			2,
		},
	} {
		j := newJoined()
		for i, p := range c.in {
			j.arrive(p, c.more && i < len(c.in)-1)
		}
		j.close()
		if len(j.out) != c.want {
			t.Errorf("%s: %d packets, want %d", name, len(j.out), c.want)
		}
		var want, got []byte
		for _, p := range c.in {
			want = append(want, p[headersLength(p):]...)
		}
		for _, p := range j.out {
			wantPacket(t, name, p)
			got = append(got, p[headersLength(p):]...)
		}
		if !bytes.Equal(got, want) {
			t.Errorf("%s: the data comes out changed", name)
		}
		if name == "a burst" && j.out[0][ipHeader+tcpFlags]&flagPSH == 0 {
			t.Errorf("%s: PSH is lost", name)
		}
	}
	other := segment(11, flagACK, "", noise(10))
	other[ipHeader] ^= 1 // another port
	j := newJoined()
	j.arrive(segment(1, flagACK, "", noise(10)), false)
	j.arrive(other, false)
	if j.close(); len(j.out) != 2 {
		t.Errorf("two connections: %d packets, want 2", len(j.out))
	}
}

// A segment whose burst does not continue must be delivered soon. After a few of them
// segments are no longer held.
func TestJoinWaits(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		j := newJoined()
		waited := 0
		for n := range uint32(100) {
			j.arrive(segment(n*100, flagACK, "", noise(10)), false)
			if j.count() == int(n) {
				waited++
				time.Sleep(holdTime)
				synctest.Wait()
			}
			if j.count() != int(n)+1 {
				t.Fatalf("segment %d is still held", n)
			}
		}
		if waited < 1 || waited > 5 {
			t.Errorf("%d of 100 single segments were held, want 1 to 5", waited)
		}
		// Segments that follow each other again make the joiner hold them again.
		for n := range uint32(2000) {
			j.arrive(segment(n*10, flagACK, "", noise(10)), n%50 != 49)
		}
		j.release()
		before := j.count()
		j.arrive(segment(1, flagACK, "", noise(10)), false)
		if j.count() != before {
			t.Error("nothing is held any more")
		}
		j.close()
		if j.count() != before+1 {
			t.Error("close loses what is held")
		}
	})
}

// FuzzJoin checks that no byte is lost, changed or reordered.
func FuzzJoin(f *testing.F) {
	f.Add(uint64(1), []byte{0, 1, 2, 3, 4, 5})
	f.Fuzz(func(t *testing.T, seed uint64, plan []byte) {
		r := rand.New(rand.NewPCG(seed, 1))
		j := newJoined()
		seq := r.Uint32()
		var want, got []byte
		for _, b := range plan {
			n := r.IntN(1 << (b & 15))
			options := []string{"", stamp1, stamp2, sack}[r.IntN(4)*int(b>>7)]
			flags := []byte{flagACK, flagACK, flagACK | flagPSH, flagACK | flagFIN}[b>>4&3]
			if b&64 != 0 {
				seq++
			}
			p := segment(seq, flags, options, noise(n))
			seq += uint32(n)
			want = append(want, p[ipHeader+tcpHeader+len(options):]...)
			j.arrive(p, r.IntN(2) == 0)
		}
		j.close()
		for _, p := range j.out {
			wantPacket(t, fmt.Sprintf("a packet of %d bytes", len(p)), p)
			got = append(got, p[headersLength(p):]...)
		}
		if !bytes.Equal(got, want) {
			t.Fatalf("%d bytes in, %d out", len(want), len(got))
		}
	})
}
