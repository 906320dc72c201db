package replay_test

import (
	"bufio"
	"bytes"
	"crypto/ed25519"
	"encoding/hex"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/sallyport-ssh/sallyport/replay"
	"github.com/sallyport-ssh/sallyport/replay/cast"
	"github.com/sallyport-ssh/sallyport/replay/store"
)

// TestMain runs the gate that TestKill kills, when it is asked to.
func TestMain(m *testing.M) {
	if role := os.Getenv("REPLAY_TEST_ROLE"); role != "" {
		play(role)
		os.Exit(0)
	}
	if dir := os.Getenv("REPLAY_TEST_VICTIM"); dir != "" {
		victim(dir)
		os.Exit(1)
	}
	os.Exit(m.Run())
}

// limitFileSize has writes beyond a size fail in the middle, as on a full disk.
func limitFileSize(t *testing.T, size int64) (restore func()) {
	t.Helper()
	signal.Ignore(syscall.SIGXFSZ)
	var old unix.Rlimit
	must(t, unix.Getrlimit(unix.RLIMIT_FSIZE, &old))
	must(t, unix.Setrlimit(unix.RLIMIT_FSIZE, &unix.Rlimit{Cur: uint64(size), Max: old.Max}))
	return func() { must(t, unix.Setrlimit(unix.RLIMIT_FSIZE, &old)) }
}

// victim records sessions under load for ever, and says on stdout what was acknowledged. What a session
// puts out is known from its name and length, so that the parent can tell what must be there.
func victim(dir string) {
	seed, err := hex.DecodeString(os.Getenv("REPLAY_TEST_KEY"))
	check(err)
	t := &panicker{}
	signer := authorityOf(t, ed25519.NewKeyFromSeed(seed))
	d, err := store.OpenDir(filepath.Join(dir, "store"))
	check(err)
	a, err := replay.OpenArchive(replay.Options{
		SpoolDir: filepath.Join(dir, "spool"), Store: d, Signer: signer, Roots: signer.roots,
		Checkpoint: 5 * time.Millisecond, ShipAfter: 5 * time.Millisecond,
	})
	check(err)
	for lane := range 4 {
		go func() {
			for n := 0; ; n++ {
				load(a, fmt.Sprintf("%s%dn%d", os.Getenv("REPLAY_TEST_ROUND"), lane, n), rand.IntN(400))
			}
		}()
	}
	select {}
}

// load records one session of some writes, telling of each when it is acknowledged.
func load(a *replay.Archive, id string, writes int) {
	r, err := a.Start(t0, meta(id))
	check(err)
	said := 0
	for range writes {
		n := []int{1, 1, 7, 7, 80, 80, 4000, 4000, 70000}[rand.IntN(9)]
		check(r.Output(replay.Stdout, content(id, said, n)))
		said += n
		fmt.Fprintf(os.Stdout, "%s %d\n", id, said) // one write(2): os.Stdout has no buffer
	}
	_, err = r.End(t0, replay.End{Reason: "exit"})
	check(err)
	fmt.Fprintf(os.Stdout, "%s end\n", id)
}

// content is what session id puts out between two offsets: text with runes and bytes that are none.
func content(id string, at, n int) []byte {
	piece := []byte(id + " caf\xc3\xa9 \xf0\x9f\x98\x80 \xff\r\n")
	out := make([]byte, n)
	for i := range out {
		out[i] = piece[(at+i)%len(piece)]
	}
	return out
}

func check(errs ...error) {
	for _, err := range errs {
		if err != nil {
			fmt.Fprintln(os.Stderr, "victim:", err)
			os.Exit(3)
		}
	}
}

// TestKill kills a gate under load at random moments. Nothing that was acknowledged is missing afterwards,
// nothing is sealed as complete that was not, and everything verifies.
func TestKill(t *testing.T) {
	rounds := 30 // with those of replay/events the gate dies fifty times in each run of all tests
	if v := os.Getenv("SALLYPORT_KILL_ROUNDS"); v != "" {
		rounds, _ = strconv.Atoi(v)
	}
	if testing.Short() {
		rounds = 5
	}
	seed := seedKey().Seed()
	signer := authorityOf(t, seedKey())
	dir := t.TempDir()
	acked, ended := map[string]int{}, map[string]bool{}
	var sum tally
	for round := range rounds {
		killed(t, dir, fmt.Sprintf("r%02dx", round), seed, acked, ended)
		recoverAll(t, dir, signer)
		sum.Sessions += len(acked)
		for _, n := range acked {
			sum.Bytes += int64(n)
		}
		sum.Lost += survive(t, dir, signer, acked, ended)
	}
	sum.Fault, sum.Times, sum.Told = "kill -9 of the gate, under load", rounds, "recovered"
	sum.book(t)
}

// killed runs a victim until it is killed, and collects what it said.
func killed(t *testing.T, dir, round string, seed []byte, acked map[string]int, ended map[string]bool) {
	t.Helper()
	exe, err := os.Executable()
	must(t, err)
	cmd := exec.Command(exe)
	cmd.Env = append(os.Environ(), "REPLAY_TEST_VICTIM="+dir, "REPLAY_TEST_ROUND="+round, "REPLAY_TEST_KEY="+hex.EncodeToString(seed))
	cmd.Stderr = os.Stderr
	out, err := cmd.StdoutPipe()
	must(t, err)
	must(t, cmd.Start())
	lines, stop := bufio.NewScanner(out), 20+rand.IntN(400)
	n := 0
	for lines.Scan() { // to the end of what it managed to say
		id, what, _ := strings.Cut(lines.Text(), " ")
		if what == "end" {
			ended[id] = true
		} else if acked[id], err = strconv.Atoi(what); err != nil {
			t.Fatalf("victim says %q", lines.Text())
		}
		if n++; n == stop {
			must(t, cmd.Process.Kill())
		}
	}
	if err := cmd.Wait(); n < stop {
		t.Fatalf("the victim ended by itself: %v", err)
	}
}

func recoverAll(t *testing.T, dir string, signer *authority) {
	t.Helper()
	d, err := store.OpenDir(filepath.Join(dir, "store"))
	must(t, err)
	defer d.Close()
	a, err := replay.OpenArchive(replay.Options{SpoolDir: filepath.Join(dir, "spool"), Store: d, Signer: signer, Roots: signer.roots})
	must(t, err)
	if err := a.Recover(t.Context()); err != nil {
		// A gate that died inside Start leaves a file without a beginning; that session was never let in.
		for line := range strings.Lines(err.Error()) {
			if !strings.Contains(line, cast.ErrUnsigned.Error()) {
				t.Errorf("recover: %s", line)
			}
		}
	}
	must(t, a.Close(t.Context()))
}

// survive checks every session that ever said something, then forgets them.
func survive(t *testing.T, dir string, signer *authority, acked map[string]int, ended map[string]bool) (lost int64) {
	t.Helper()
	d, err := store.OpenDir(filepath.Join(dir, "store"))
	must(t, err)
	defer d.Close()
	lib := &replay.Library{Spool: filepath.Join(dir, "spool"), Store: d, Roots: signer.roots}
	for id, n := range acked {
		rep, err := lib.Verify(t.Context(), id, "")
		must(t, err)
		if !rep.OK() || ended[id] && rep.State != cast.Complete {
			t.Errorf("%s (ended %t): %s: %s", id, ended[id], rep.State, rep.Why)
		}
		f, err := lib.Open(t.Context(), id)
		must(t, err)
		var b bytes.Buffer
		_, err = b.ReadFrom(f)
		must(t, err)
		f.Close()
		if got := stdout(t, b.Bytes()); len(got) < n || !bytes.Equal(got, content(id, 0, len(got))) {
			t.Errorf("%s: %d bytes were acknowledged, %d are there", id, n, len(got))
			lost += int64(n)
		}
		delete(acked, id)
	}
	return lost
}
