package cast_test

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"github.com/sallyport-ssh/sallyport/replay/cast"
)

// recovered recovers b in a file and returns what the file holds then.
func recovered(t testing.TB, a *authority, b []byte) ([]byte, cast.Seal, *cast.Remains, error) {
	t.Helper()
	m, err := cast.Examine(bytes.NewReader(b), cast.VerifyOptions{Roots: a.roots, Session: session})
	if err != nil {
		return b, cast.Seal{}, m, err
	}
	name := filepath.Join(t.TempDir(), "cast")
	must(t, os.WriteFile(name, b, 0o600))
	f, err := os.OpenFile(name, os.O_RDWR, 0)
	must(t, err)
	defer f.Close()
	key, chain := a.sessionKey(t, session)
	c := &clock{t: epoch}
	seal, err := m.Seal(f, cast.RecoverOptions{Key: key, Chain: chain, Reason: "gate died", Now: c.now})
	must(t, err)
	out, err := os.ReadFile(name)
	must(t, err)
	return out, seal, m, nil
}

// unsealed is a recording whose gate died just before it would have sealed it.
func unsealed(t testing.TB, a *authority) []byte {
	t.Helper()
	var b bytes.Buffer
	body(t, newWriter(t, &b, a, session))
	return b.Bytes()
}

// TestRecoverAfterEveryCut: wherever the gate died, the remains are sealed as recovered, every whole line
// is kept, and the result verifies.
func TestRecoverAfterEveryCut(t *testing.T) {
	a := newAuthority(t)
	b := unsealed(t, a)
	first := bytes.Index(b, []byte(`"sig"`))
	first += bytes.IndexByte(b[first:], '\n') + 1
	for n := range len(b) + 1 {
		out, seal, m, err := recovered(t, a, b[:n])
		if n < first {
			if !errors.Is(err, cast.ErrUnsigned) {
				t.Fatalf("cut at %d: error %v, want ErrUnsigned", n, err)
			}
			continue
		}
		must(t, err)
		if m.Damaged || m.Keep > int64(n) || seal.State != cast.Recovered {
			t.Fatalf("cut at %d: %+v, %+v", n, m, seal)
		}
		whole := b[:bytes.LastIndexByte(b[:n], '\n')+1]
		if announced := bytes.HasSuffix(whole[:len(whole)-1], []byte(`"}`)) && !bytes.HasPrefix(out, whole); announced {
			whole = whole[:bytes.LastIndexByte(whole[:len(whole)-1], '\n')+1] // an announcement without its event
		}
		if !bytes.HasPrefix(out, whole) {
			t.Fatalf("cut at %d: a whole line was lost", n)
		}
		r := verify(t, a, out, cast.VerifyOptions{Session: session, Hash: seal.Hash})
		if r.State != cast.Recovered || r.OwnUntil > int64(n) || r.SignedUntil != int64(len(out)) || *r.Seal != seal || r.DroppedBytes != m.Dropped {
			t.Fatalf("cut at %d: report %+v", n, r)
		}
		equal(t, streams(t, out), streams(t, whole))
	}
}

func TestRecoveredRecordingsAreNoLessGuarded(t *testing.T) {
	a := newAuthority(t)
	out, _, _, err := recovered(t, a, unsealed(t, a))
	must(t, err)
	bad := bytes.Clone(out)
	for i := range out {
		bad[i] ^= 1 << (i % 8)
		if r := verify(t, a, bad, cast.VerifyOptions{}); r.OK() {
			t.Fatalf("flip of byte %d is not found", i)
		}
		bad[i] = out[i]
	}
}

func TestRecoverDamaged(t *testing.T) {
	a := newAuthority(t)
	b := unsealed(t, a)
	zeros := make([]byte, 100)
	last := bytes.LastIndex(b, []byte(`#sp {"k":"check"`))
	for _, tt := range []struct {
		name  string
		b     []byte
		state cast.State
	}{
		{"zeros behind it, as a power cut leaves", append(bytes.Clone(b), zeros...), cast.Recovered},
		{"zeros and a newline", append(append(bytes.Clone(b), zeros...), "\n[0, \"o\", \"x\"]\n"...), cast.Truncated},
		{"a changed event before a checkpoint", bytes.Replace(b, []byte(`"ls\r"`), []byte(`"la\r"`), 1), cast.Truncated},
		{"a broken event before a checkpoint", bytes.Replace(b, []byte(`"ls\r"`), []byte(`"ls\r `), 1), cast.Truncated},
		{"a lost checkpoint", append(bytes.Clone(b[:last]), b[bytes.IndexByte(b[last:], '\n')+last+1:]...), cast.Recovered},
		{"an endless line", append(bytes.Clone(b), bytes.Repeat([]byte("x"), 2<<20)...), cast.Truncated},
	} {
		t.Run(tt.name, func(t *testing.T) {
			out, seal, m, err := recovered(t, a, tt.b)
			must(t, err)
			if seal.State != tt.state || m.Damaged != (tt.state == cast.Truncated) {
				t.Errorf("sealed as %s, damaged %t, want %s", seal.State, m.Damaged, tt.state)
			}
			r := verify(t, a, out, cast.VerifyOptions{Session: session})
			if r.State != tt.state {
				t.Errorf("verifies as %s: %s", r.State, r.Why)
			}
			if m.Keep+m.Dropped != int64(len(tt.b)) {
				t.Errorf("keeps %d, drops %d of %d", m.Keep, m.Dropped, len(tt.b))
			}
		})
	}
}

func TestRecoverLeavesTheSealedAlone(t *testing.T) {
	a := newAuthority(t)
	b := sample(t, a, session)
	out, seal, _, err := recovered(t, a, b)
	must(t, err)
	if !bytes.Equal(out, b) || seal.State != cast.Complete {
		t.Errorf("a sealed recording was changed: %+v", seal)
	}
}

func TestRecoveryKeyCannotComplete(t *testing.T) {
	a := newAuthority(t)
	out, _, _, err := recovered(t, a, unsealed(t, a))
	must(t, err)
	bad := bytes.Replace(out, []byte(`"state":"recovered"`), []byte(`"state":"complete"`), 1)
	if r := verify(t, a, bad, cast.VerifyOptions{}); r.OK() {
		t.Error("a recovered recording passes as complete")
	}
}

func ExampleVerify() {
	report, err := cast.Verify(bytes.NewReader(nil), cast.VerifyOptions{})
	fmt.Println(report.State, err)
	// Output: truncated <nil>
}
