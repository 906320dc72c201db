package cast_test

import (
	"bytes"
	"errors"
	"os/exec"
	"strings"
	"testing"

	"github.com/sallyport-ssh/sallyport/replay/cast"
	"github.com/sallyport-ssh/sallyport/replay/cast/thirdparty"
)

// judges holds the two verifiers against each other.
type judges struct {
	t      *testing.T
	a      *authority
	agreed map[string]int // what they agreed on, by state
}

func (j *judges) ask(what string, b []byte, id string) {
	j.t.Helper()
	ours := verify(j.t, j.a, b, cast.VerifyOptions{Session: id})
	state, seal, err := thirdparty.Verify(bytes.NewReader(b), j.a.roots, id)
	var bad *thirdparty.Damage
	switch {
	case err != nil && !errors.As(err, &bad):
		j.t.Fatalf("%s: %v", what, err)
	case err != nil && (ours.State != cast.Tampered || bad.Offset > ours.BadUntil):
		j.t.Fatalf("%s: theirs: %v; ours: %s until byte %d, %s", what, err, ours.State, ours.BadUntil, ours.Why)
	case err == nil && ours.State == cast.Tampered:
		j.t.Fatalf("%s: theirs: %s; ours: %s", what, state, ours.Why)
	case err == nil && ours.Sealed != (state != thirdparty.Unsealed), ours.Sealed && err == nil && (string(ours.State) != state || ours.Seal.Hash != seal):
		j.t.Fatalf("%s: theirs: %s %s; ours: %+v", what, state, seal, ours)
	}
	j.agreed[string(ours.State)]++
}

// TestAThirdPartyAgrees: a verifier that was written from FORMAT.md alone comes to the same verdict, over whole
// recordings and over every kind of damage.
func TestAThirdPartyAgrees(t *testing.T) {
	a := newAuthority(t)
	j := &judges{t, a, map[string]int{}}
	one := sample(t, a, session)
	died, _, _, err := recovered(t, a, unsealed(t, a))
	must(t, err)
	damaged := bytes.Replace(unsealed(t, a), []byte("oops"), []byte("ooxs"), 1)
	cut, _, _, err := recovered(t, a, damaged)
	must(t, err)
	for name, b := range map[string][]byte{"complete": one, "recovered": died, "truncated": cut, "unsealed": unsealed(t, a)} {
		j.ask(name, b, session)
		j.damage(name, b)
	}
	j.ask("of another session", one, "0k3v9m2x7q1b5n8r4t6x")
	j.splices(one, died)
	j.splices(one, sample(t, a, session))
	j.splices(one, sample(t, a, "0k3v9m2x7q1b5n8r4t6x"))
	if j.agreed["complete"] == 0 || j.agreed["recovered"] == 0 || j.agreed["truncated"] == 0 || j.agreed["tampered"] < 1000 {
		t.Errorf("they agreed on %v", j.agreed)
	}
	t.Logf("they agreed on %v", j.agreed)
}

func (j *judges) damage(name string, b []byte) {
	j.t.Helper()
	for i := 0; i < len(b); i += 5 { // 5 and 8 have no common factor, so all bits are tried
		bad := bytes.Clone(b)
		bad[i] ^= 1 << (i % 8)
		j.ask(name+" with a flipped bit", bad, session)
		if i%3 == 0 {
			j.ask(name+" cut", b[:i], session)
			j.ask(name+" with a byte put in", append(append(bytes.Clone(b[:i]), "\n 0#"[i%4]), b[i:]...), session)
		}
	}
	lines := bytes.SplitAfter(b, []byte("\n"))
	lines = lines[:len(lines)-1]
	for i := range lines {
		without := append(append([][]byte{}, lines[:i]...), lines[i+1:]...)
		j.ask(name+" without a line", bytes.Join(without, nil), session)
		twice := append(append([][]byte{}, lines[:i+1]...), lines[i:]...)
		j.ask(name+" with a line twice", bytes.Join(twice, nil), session)
		for k := i % 3; k < i; k += 3 {
			swapped := append([][]byte{}, lines...)
			swapped[i], swapped[k] = swapped[k], swapped[i]
			j.ask(name+" with lines in another order", bytes.Join(swapped, nil), session)
		}
	}
}

func (j *judges) splices(one, other []byte) {
	j.t.Helper()
	l1, l2 := bytes.SplitAfter(one, []byte("\n")), bytes.SplitAfter(other, []byte("\n"))
	for i := range l1 {
		for k := i % 3; k < len(l2); k += 3 {
			j.ask("two spliced", append(bytes.Join(l1[:i], nil), bytes.Join(l2[k:], nil)...), session)
		}
	}
}

// TestTheThirdPartyIsOne: it shares no code with us.
func TestTheThirdPartyIsOne(t *testing.T) {
	out, err := exec.Command("go", "list", "-deps", "./thirdparty").Output()
	must(t, err)
	for dep := range strings.Lines(string(out)) {
		if dep = strings.TrimSpace(dep); strings.Contains(strings.Split(dep, "/")[0], ".") && !strings.HasSuffix(dep, "/thirdparty") && !strings.HasPrefix(dep, "vendor/") {
			t.Errorf("it imports %s", dep)
		}
	}
}
