package events

import (
	"context"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	"syscall"
	"testing"
	"time"

	"github.com/sallyport-ssh/sallyport/replay/ledger"
)

// TestMain runs the gate that TestKilledExporter kills, when it is asked to.
func TestMain(m *testing.M) {
	if where := os.Getenv("EVENTS_TEST_VICTIM"); where != "" {
		victim(where, os.Getenv("EVENTS_TEST_SYSLOG"))
		os.Exit(1)
	}
	os.Exit(m.Run())
}

// victim hands events over until it is killed.
func victim(path, address string) {
	fail := func(err error) {
		if err != nil {
			fmt.Fprintln(os.Stderr, "victim:", err)
			os.Exit(3)
		}
	}
	l, err := ledger.Open(context.Background(), "sqlite:"+path)
	fail(err)
	sink, err := NewSyslog(SyslogOptions{Network: "tcp", Address: address})
	fail(err)
	x, err := NewExporter(Options{Name: "siem", Holder: "gate", Ledger: l, Sink: sink, Every: time.Millisecond,
		Sent: func(int, time.Duration) { fmt.Println("sent") }, Failed: func(time.Duration) { fmt.Println("failed") }})
	fail(err)
	fmt.Println("begins")
	x.Run(context.Background())
}

// rsyslog is a real syslog server that writes what it gets to a file.
type rsyslog struct {
	t    *testing.T
	dir  string
	addr string
	cmd  *exec.Cmd
}

func startRsyslog(t *testing.T) *rsyslog {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	must(t, err)
	r := &rsyslog{t: t, dir: t.TempDir(), addr: l.Addr().String()}
	must(t, l.Close())
	_, port, _ := net.SplitHostPort(r.addr)
	conf := fmt.Sprintf(`global(workDirectory="%[1]s" maxMessageSize="64k")
module(load="imtcp")
template(name="raw" type="string" string="%%msg%%\n")
input(type="imtcp" port="%[2]s" address="127.0.0.1")
action(type="omfile" file="%[1]s/events" template="raw" fileCreateMode="0600")
`, r.dir, port)
	must(t, os.WriteFile(r.dir+"/conf", []byte(conf), 0o600))
	r.start()
	return r
}

func (r *rsyslog) start() {
	r.t.Helper()
	binary, err := exec.LookPath("rsyslogd")
	if err != nil {
		binary = "/usr/sbin/rsyslogd" // not in everybody's path
	}
	r.cmd = exec.Command(binary, "-n", "-f", r.dir+"/conf", "-i", r.dir+"/pid")
	r.cmd.Stderr = os.Stderr
	must(r.t, r.cmd.Start())
	r.t.Cleanup(r.stop)
	eventually(r.t, "rsyslogd listens", func() bool {
		c, err := net.Dial("tcp", r.addr)
		if err == nil {
			c.Close()
		}
		return err == nil
	})
}

// stop ends it as an administrator does: it writes what it has read.
func (r *rsyslog) stop() {
	if r.cmd.ProcessState == nil {
		_ = r.cmd.Process.Signal(syscall.SIGTERM)
		_ = r.cmd.Wait()
	}
}

// uids counts what arrived, by the event's uid.
func (r *rsyslog) uids() map[string]int {
	r.t.Helper()
	b, err := os.ReadFile(r.dir + "/events")
	must(r.t, err)
	all := map[string]int{}
	s := readSchema(r.t)
	for line := range strings.Lines(string(b)) {
		line = strings.TrimSpace(line)
		var e struct{ Metadata struct{ UID string } }
		if err := json.Unmarshal([]byte(line), &e); err != nil {
			r.t.Fatalf("%v in %.300q", err, line)
		}
		if wrong := s.check([]byte(line)); wrong != nil {
			r.t.Fatalf("%v in %s", wrong, line)
		}
		all[e.Metadata.UID]++
	}
	return all
}

func eventually(t *testing.T, what string, ok func() bool) {
	t.Helper()
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	end := time.After(30 * time.Second)
	for !ok() {
		select {
		case <-end:
			t.Fatalf("never: %s", what)
		case <-tick.C:
		}
	}
}

// killedRounds is how often the gate dies.
const killedRounds = 20

// TestKilledExporter: a gate that is killed again and again while it hands events to a real rsyslog, which is
// itself away for a while, loses none of them.
func TestKilledExporter(t *testing.T) {
	path := filepath.Join(t.TempDir(), "ledger.db")
	l, err := ledger.Open(t.Context(), "sqlite:"+path)
	must(t, err)
	defer l.Close()
	server := startRsyslog(t)
	total := 0
	write := func(n int) {
		for range n {
			total++
			must(t, l.AddAudit(t.Context(), ledger.Event{Kind: "approval:give", Gate: "gate", ActorName: "boss", Detail: map[string]any{"text": strings.Repeat("x", rand.IntN(2000))}}))
		}
	}
	for round := range killedRounds {
		write(250)
		switch round {
		case killedRounds / 3:
			server.stop()
		case killedRounds / 2:
			server.start()
		}
		kill(t, path, server.addr)
	}
	// One that is left alone hands over the rest.
	sink, err := NewSyslog(SyslogOptions{Network: "tcp", Address: server.addr})
	must(t, err)
	x, err := NewExporter(Options{Name: "siem", Holder: "gate", Ledger: l, Sink: sink})
	must(t, err)
	for n := 1; n > 0; {
		n, err = x.Step(t.Context())
		must(t, err)
	}
	server.stop()
	got, twice := server.uids(), 0
	for n := range total {
		if got[fmt.Sprintf("audit-%d", n+1)] == 0 {
			t.Errorf("event %d was lost", n+1)
		}
	}
	for _, n := range got {
		twice += n - 1
	}
	t.Logf("%d kills, %d events, 0 lost, %d handed over again", killedRounds, total, twice)
}

// kill runs a victim for a moment.
func kill(t *testing.T, path, address string) {
	t.Helper()
	exe, err := os.Executable()
	must(t, err)
	cmd := exec.Command(exe)
	cmd.Env = append(os.Environ(), "EVENTS_TEST_VICTIM="+path, "EVENTS_TEST_SYSLOG="+address)
	cmd.Stderr = os.Stderr
	out, err := cmd.StdoutPipe()
	must(t, err)
	must(t, cmd.Start())
	_, err = out.Read(make([]byte, 100)) // it begins
	must(t, err)
	after := time.NewTimer(time.Duration(rand.IntN(15000)) * time.Microsecond)
	<-after.C // the moment is what is tried out: any will do
	must(t, cmd.Process.Kill())
	_ = cmd.Wait()
}

// TestExporterEndToEnd: every kind of row goes out in the order of time, waits while a sink is down, and is told of.
func TestExporterEndToEnd(t *testing.T) {
	l, err := ledger.Open(t.Context(), "sqlite:"+filepath.Join(t.TempDir(), "l.db"))
	must(t, err)
	defer l.Close()
	ctx, at := t.Context(), time.Now().Add(-time.Hour)
	must(t, l.AddCertificate(ctx, ledger.Certificate{Serial: "7", Purpose: "user", IdentityKey: "i#s", Name: "dev", Fingerprint: "SHA256:x", Issued: at}))
	must(t, l.AddCertificate(ctx, ledger.Certificate{Serial: "8", Purpose: "host", Name: "gate", Fingerprint: "SHA256:y", Issued: at}))
	s := ledger.Session{ID: "session0", Gate: "g", Identity: ledger.Identity{Issuer: "i", Subject: "s", Name: "dev"}, Target: "web1", Started: at.Add(time.Second)}
	must(t, l.StartSession(ctx, s))
	must(t, l.AddOperation(ctx, ledger.Operation{ID: "op1", SessionID: s.ID, Sequence: 1, Time: at.Add(2 * time.Second), Action: "command:run", Text: "ls", Decision: "allow"}))
	must(t, l.EndSession(ctx, s.ID, ledger.End{Ended: at.Add(4 * time.Second), State: ledger.Complete, Reason: "exit", SealHash: make([]byte, 32)}))
	must(t, l.AddAudit(ctx, ledger.Event{At: at.Add(3 * time.Second), Kind: "recording:view", ActorName: "boss"}))
	sink := &moody{down: true}
	failed, sent := 0, 0
	x, err := NewExporter(Options{Name: "siem", Holder: "g", Ledger: l, Sink: sink, Failed: func(behind time.Duration) {
		if failed++; behind < 59*time.Minute {
			t.Errorf("behind by %v", behind)
		}
	}, Sent: func(n int, _ time.Duration) { sent += n }})
	must(t, err)
	if _, err := x.Step(ctx); err == nil || failed != 1 {
		t.Errorf("a sink that is down: %v, told %d times", err, failed)
	}
	sink.down = false
	for range 2 {
		_, err = x.Step(ctx)
		must(t, err)
	}
	var classes []int
	for _, line := range sink.got {
		var e struct {
			Class int `json:"class_uid"`
		}
		must(t, json.Unmarshal(line, &e))
		classes = append(classes, e.Class)
	}
	if fmt.Sprint(classes) != "[3002 1007 6003 4007]" || sent != 4 {
		t.Errorf("classes %v, sent %d", classes, sent)
	}
}

// moody is a sink that is down, or not.
type moody struct {
	down bool
	got  [][]byte
}

func (m *moody) Send(_ context.Context, lines [][]byte) error {
	if m.down {
		return syscall.ECONNREFUSED
	}
	m.got = append(m.got, lines...)
	return nil
}

func (*moody) Close() error { return nil }
