package mask

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/sallyport-ssh/sallyport/filters/mask/internal/corpus"
)

// plain is e without its probe, which is how it is on processors that cannot probe.
func plain(e *Engine) *Engine {
	p := *e
	p.probe = nil
	return &p
}

// samePlaces fails if the probe and the filter differ on where in p anchors are. The filter takes some four bytes for one that
// are none, of which the probe knows better.
func samePlaces(t *testing.T, e *Engine, p []byte) {
	t.Helper()
	var m marks
	if e.probe != nil {
		m.look(e.probe, p, 0)
	}
	for i := 0; i < len(p); i++ {
		k, want := e.next(p, i, &m), e.plainNext(p, i)
		for want < k && !e.anchored(p, want) {
			want = e.plainNext(p, want+1)
		}
		if k != want {
			t.Fatalf("the anchor after %d is at %d, not at %d: %q", i, k, want, p[i:min(len(p), max(k, want)+20)])
		}
		i = k
	}
}

// anchored says whether a detector would be asked at p[i].
func (e *Engine) anchored(p []byte, i int) bool {
	if i+1 >= len(p) {
		return true
	}
	return slices.ContainsFunc(e.groups[e.table[binary.LittleEndian.Uint16(p[i:])]], func(a member) bool { return a.at(p, i) })
}

// FuzzProbe: with the probe and without it the same is found, for every input and every way of cutting it.
func FuzzProbe(f *testing.F) {
	if !probing {
		f.Log("this processor cannot probe: the filter is compared with itself")
	}
	seeds(f)
	e := fuzzEngine(f)
	f.Fuzz(func(t *testing.T, p []byte, seed uint64) {
		samePlaces(t, e, p)
		for _, long := range [][]byte{p, bytes.Repeat(append(bytes.Repeat([]byte("x"), int(seed%64)), p...), 3)} {
			var got, want []string
			s, q := e.Stream(tell(&got)), plain(e).Stream(tell(&want))
			if a, b := cutUp(s, long, seed), cutUp(q, long, seed); !bytes.Equal(a, b) || !slices.Equal(got, want) {
				t.Fatalf("%q with the probe:\n%q %v\nwithout:\n%q %v", long, a, got, b, want)
			}
		}
	})
}

// TestProbe compares them on text of all kinds, from every place in a block.
func TestProbe(t *testing.T) {
	e := fuzzEngine(t)
	r := rand.New(rand.NewPCG(31, 32))
	noise := make([]byte, 64<<10)
	for i := range noise {
		noise[i] = byte(r.Uint32())
	}
	texts := append(corpus.Clean(), corpus.Hits()...)
	texts = append(texts, corpus.Text{Name: "noise", Text: noise})
	for _, c := range texts {
		for i := range 2 * probeBlock {
			samePlaces(t, e, c.Text[i:i+8<<10])
		}
	}
}

// TestProbeSeesEveryAnchor puts every anchor of every detector at every place in a block.
func TestProbeSeesEveryAnchor(t *testing.T) {
	if !probing {
		t.Log("this processor cannot probe: nothing to compare")
		return
	}
	e := fuzzEngine(t)
	b := make([]byte, 2*probeBlock+probeAfter)
	for _, d := range e.detectors {
		for _, a := range d.anchors {
			for x := range 256 {
				at := x % probeBlock
				for k, set := range a.at {
					c := x
					for !set[c] {
						c = (c + 1) % 256
					}
					b[at+k] = byte(c)
				}
				var seen [2]blockMarks
				e.probe.see(b, seen[:])
				if a.lane != laneNumber && seen[0].found>>at&1 == 0 {
					t.Fatalf("%s: %q is not seen at %d", d.name, b[at:at+4], at)
				}
				clear(b)
			}
		}
	}
}

func tell(hits *[]string) StreamOptions {
	return StreamOptions{OnHit: func(h Hit) { *hits = append(*hits, fmt.Sprint(h)) }}
}
