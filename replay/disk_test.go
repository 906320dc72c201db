package replay_test

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/sallyport-ssh/sallyport/replay"
	"github.com/sallyport-ssh/sallyport/replay/cast"
)

// inBox runs this test again, alone, where /mnt is a disk of so many bytes of its own, and reports whether this is
// that run.
func inBox(t *testing.T, size int) bool {
	t.Helper()
	const mark = "REPLAY_TEST_BOX"
	if os.Getenv(mark) != "" {
		return true
	}
	exe, err := os.Executable()
	must(t, err)
	cmd := exec.Command("bwrap", "--unshare-user", "--uid", "0", "--gid", "0", "--cap-add", "CAP_SYS_ADMIN", "--die-with-parent", "--dev-bind", "/", "/",
		"--size", fmt.Sprint(size), "--tmpfs", "/mnt", exe, "-test.run", "^"+t.Name()+"$", "-test.v", "-test.timeout", "90s")
	cmd.Env = append(os.Environ(), mark+"=1")
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	if !strings.Contains(string(out), "--- PASS: "+t.Name()) {
		t.Fatalf("it did not run:\n%s", out)
	}
	return false
}

// TestFullDisk: on a disk that fills up, new sessions are refused while those that run still have room; then those
// end, with all that was acknowledged; an administrator gets in at any time; and when there is room again everybody.
func TestFullDisk(t *testing.T) {
	if !inBox(t, 16<<20) {
		return
	}
	bad := &faults{}
	h := newHouse(t, func(o *replay.Options) {
		bad.Store, o.SpoolDir = o.Store, "/mnt/spool"
		o.Store = bad
	})
	bad.fail(errors.New("the store is down, so nothing leaves the spool"))
	acked := said{}
	r := h.start(t, "fills001")
	refusedAt, err := 0, error(nil)
	for err == nil {
		p := content("fills001", acked["fills001"], 32<<10)
		if err = r.Output(replay.Stdout, p); err == nil {
			acked["fills001"] += len(p)
		}
		if h.Refusing() && refusedAt == 0 {
			refusedAt = acked["fills001"]
			if _, err := h.Start(t.Context(), meta("refused1")); !errors.Is(err, replay.ErrSpoolFull) {
				t.Errorf("another session is let in: %v", err)
			}
		}
	}
	if !errors.Is(err, unix.ENOSPC) || refusedAt == 0 || refusedAt >= acked["fills001"] {
		t.Errorf("it ends with %v at byte %d; others were refused from byte %d on", err, acked["fills001"], refusedAt)
	}
	admin := meta("admin001")
	admin.Essential = true
	in, err := h.Start(t.Context(), admin)
	must(t, err)
	for range 10 {
		acked.say(t, in, "admin001", 4000)
	}
	if h.alarm("room").Load() != 1 || h.alarm("record").Load() != 1 || !h.Stats().Refusing {
		t.Errorf("alarms: room %d, record %d; stats %+v", h.alarm("room").Load(), h.alarm("record").Load(), h.Stats())
	}
	_, err = r.End(t.Context(), replay.End{Reason: "this session can no longer be recorded, so it ends"})
	must(t, err)
	_, err = in.End(t.Context(), replay.End{Reason: "exit"})
	must(t, err)
	bad.fail(nil)
	eventually(t, "the spool is empty and lets in again", func() bool { return len(h.spooled(t)) == 0 && !h.Refusing() })
	sum := h.countIn(t, tally{Fault: "disk full", Times: 1, Told: "alarm, refusing; truncated"}, said{"fills001": acked["fills001"]}, cast.Truncated)
	h.countIn(t, sum, said{"admin001": acked["admin001"]}, cast.Complete).book(t)
	after := h.start(t, "after001")
	must(t, after.Output(replay.Stdout, []byte("x")))
	_, err = after.End(t.Context(), replay.End{})
	must(t, err)
}

// TestReadOnlyDisk: on a disk that became read-only no session begins; those that ended before lose nothing.
func TestReadOnlyDisk(t *testing.T) {
	if !inBox(t, 16<<20) {
		return
	}
	bad := &faults{}
	h := newHouse(t, func(o *replay.Options) {
		bad.Store, o.SpoolDir = o.Store, "/mnt/spool"
		o.Store = bad
	})
	bad.fail(errors.New("503"))
	acked := said{}
	r := h.start(t, "before01")
	acked.say(t, r, "before01", 5000)
	_, err := r.End(t.Context(), replay.End{Reason: "exit"})
	must(t, err)
	must(t, unix.Mount("", "/mnt", "", unix.MS_REMOUNT|unix.MS_RDONLY, ""))
	if _, err := h.Start(t.Context(), meta("refused1")); !errors.Is(err, unix.EROFS) {
		t.Errorf("a session begins on a read-only disk: %v", err)
	}
	bad.fail(nil)
	eventually(t, "it is shipped, and cannot leave the spool", func() bool { return h.Stats().Segments > 0 && h.alarm("ship").Load() > 0 })
	must(t, unix.Mount("", "/mnt", "", unix.MS_REMOUNT, ""))
	eventually(t, "the spool is empty", func() bool { return len(h.spooled(t)) == 0 })
	h.countIn(t, tally{Fault: "disk read-only", Times: 1, Told: "alarm"}, acked, cast.Complete).book(t)
	must(t, func() error { _, err := h.Start(t.Context(), meta("after001")); return err }())
}

// play is what this program does when it is to suffer an I/O error: no other process may, and it has no way back.
func play(role string) {
	t := &panicker{}
	dir := os.Getenv("REPLAY_TEST_DIR")
	signer := authorityOf(t, seedKey())
	a, err := replay.OpenArchive(replay.Options{
		SpoolDir: filepath.Join(dir, "spool"), Store: nowhere{}, Signer: signer, Roots: signer.roots, Checkpoint: time.Millisecond,
		OnAlarm: func(a replay.Alarm) { fmt.Println("alarm", a.What) },
	})
	check(err)
	r, err := a.Start(t0, meta(role))
	check(err)
	acked := 0
	say := func(n int) error {
		err := r.Output(replay.Stdout, content(role, acked, n))
		if err == nil {
			acked += n
			fmt.Println("acked", acked)
		}
		return err
	}
	check(say(2000))
	if role == "ioerr001" {
		check(eio(unix.SYS_FSYNC, 0), eio(unix.SYS_SYNCFS, 0))
	} else {
		check(eio(unix.SYS_WRITE, 40000)) // of a chunk, and of nothing else that this process writes
	}
	for end := time.Now().Add(20 * time.Second); err == nil && time.Now().Before(end); {
		err = say(35000)
	}
	fmt.Println("ended", errors.Is(err, unix.EIO))
}

// eio has a system call fail with EIO from now on, in this whole process, when its third argument is at least so
// much: what a broken disk does to it.
func eio(call uintptr, least uint32) error {
	load := func(at uint32) unix.SockFilter {
		return unix.SockFilter{Code: unix.BPF_LD | unix.BPF_W | unix.BPF_ABS, K: at}
	}
	jump := func(op uint16, k uint32, yes, no uint8) unix.SockFilter {
		return unix.SockFilter{Code: unix.BPF_JMP | op | unix.BPF_K, K: k, Jt: yes, Jf: no}
	}
	ret := func(k uint32) unix.SockFilter { return unix.SockFilter{Code: unix.BPF_RET | unix.BPF_K, K: k} }
	const number, third = 0, 16 + 2*8 // offsets in struct seccomp_data
	program := []unix.SockFilter{
		load(number), jump(unix.BPF_JEQ, uint32(call), 0, 3),
		load(third), jump(unix.BPF_JGE, least, 0, 1),
		ret(unix.SECCOMP_RET_ERRNO | uint32(unix.EIO)), ret(unix.SECCOMP_RET_ALLOW),
	}
	if err := unix.Prctl(unix.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0); err != nil {
		return err
	}
	prog := unix.SockFprog{Len: uint16(len(program)), Filter: &program[0]}
	_, _, errno := unix.Syscall(unix.SYS_SECCOMP, unix.SECCOMP_SET_MODE_FILTER, unix.SECCOMP_FILTER_FLAG_TSYNC, uintptr(unsafe.Pointer(&prog)))
	if errno != 0 {
		return errno
	}
	return nil
}

// TestIOErrors: a disk that fails to flush, or to write, ends the recording at once and with an alarm; the next
// life of the gate seals all that was acknowledged.
func TestIOErrors(t *testing.T) {
	for role, want := range map[string]string{"ioerr001": "sync", "ioerr002": "record"} {
		dir := t.TempDir()
		exe, err := os.Executable()
		must(t, err)
		cmd := exec.Command(exe)
		cmd.Env = append(os.Environ(), "REPLAY_TEST_ROLE="+role, "REPLAY_TEST_DIR="+dir)
		cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
		out, err := cmd.CombinedOutput()
		if err != nil || !strings.Contains(string(out), "alarm "+want) || !strings.Contains(string(out), "ended true") {
			t.Fatalf("%s: %v\n%s", role, err, out)
		}
		acked := said{}
		for line := range strings.Lines(string(out)) {
			var n int
			if _, err := fmt.Sscanf(line, "acked %d", &n); err == nil {
				acked[role] = n
			}
		}
		h := newHouse(t, func(o *replay.Options) { o.SpoolDir = filepath.Join(dir, "spool") })
		h.signer = authorityOf(t, seedKey())
		must(t, h.Archive.Close(t.Context()))
		h.o.Signer, h.o.Roots = h.signer, h.signer.roots
		h.open(t)
		must(t, h.Recover(t.Context()))
		eventually(t, "the spool is empty", func() bool { return len(h.spooled(t)) == 0 })
		rep, err := h.Verify(t.Context(), role)
		must(t, err)
		fault := map[string]string{"sync": "I/O error in fsync", "record": "I/O error in write"}[want]
		h.countIn(t, tally{Fault: fault, Times: 1, Told: "alarm; " + string(rep.State)}, acked, rep.State).book(t)
		if rep.State == cast.Complete {
			t.Errorf("%s: sealed as complete", role)
		}
	}
}
