package main

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

func TestRank(t *testing.T) {
	ten := []int{9, 1, 8, 2, 7, 3, 6, 4, 5, 10}
	for _, tt := range []struct {
		name string
		all  []int
		q    float64
		want int
	}{
		{"nothing", nil, 0.5, 0},
		{"one", []int{7}, 0.99, 7},
		{"median", ten, 0.5, 6},
		{"p99 of few is the last", ten, 0.99, 10},
		{"all", ten, 1, 10},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if got := rank(append([]int(nil), tt.all...), tt.q); got != tt.want {
				t.Errorf("rank(%v, %v) = %d, want %d", tt.all, tt.q, got, tt.want)
			}
		})
	}
}

func TestNumber(t *testing.T) {
	for _, tt := range []struct {
		v    float64
		want string
	}{{0, "-"}, {1234.56, "1235"}, {99.96, "100.0"}, {42.04, "42.0"}, {1.5, "1.50"}, {0.0355, "0.0355"}, {0.00012, "0.0001"}} {
		if got := number(tt.v); got != tt.want {
			t.Errorf("number(%v) = %q, want %q", tt.v, got, tt.want)
		}
	}
}

func TestAims(t *testing.T) {
	for _, tt := range []struct {
		name string
		row  row
		want string
	}{
		{"slower, within", row{Value: [3]float64{2, 1, 0}, Aim: within2}, "within 2x of plain Go: yes"},
		{"slower, not within", row{Value: [3]float64{2.1, 1, 0}, Aim: within2}, "within 2x of plain Go: NO"},
		{"much faster is within", row{Value: [3]float64{1, 9, 0}, Aim: within2}, "within 2x of plain Go: yes"},
		{"fewer, within", row{More: true, Value: [3]float64{1, 2, 0}, Aim: within2}, "within 2x of plain Go: yes"},
		{"fewer, not within", row{More: true, Value: [3]float64{1, 3, 0}, Aim: within2}, "within 2x of plain Go: NO"},
		{"none", row{Value: [3]float64{1, 3, 0}}, ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if got := tt.row.aimed(); got != tt.want {
				t.Errorf("aimed() = %q, want %q", got, tt.want)
			}
		})
	}
}

// A value that was not measured is a dash in the table, and not there in JSON; never a ratio.
func TestReportWithoutAValue(t *testing.T) {
	r := report{}
	r.table("A table").add(row{What: "thing", Unit: "ms", Value: [3]float64{4, 2, 0}, Aim: within2})
	r.table("Another")
	var text, object bytes.Buffer
	if err := r.writeText(&text); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"4.00      2.00         -    2.00x        -  within 2x of plain Go: yes\n", "Another\n  could not be measured\n"} {
		if !strings.Contains(text.String(), want) {
			t.Errorf("the text lacks %q:\n%s", want, &text)
		}
	}
	if err := r.writeJSON(&object); err != nil {
		t.Fatal(err)
	}
	var back struct {
		Tables []struct{ Rows []map[string]any }
	}
	if err := json.Unmarshal(object.Bytes(), &back); err != nil {
		t.Fatal(err)
	}
	got := back.Tables[0].Rows[0]
	if got["gate"] != 4.0 || got["gate_over_plain"] != 2.0 || got["met"] != true {
		t.Errorf("the row is %v", got)
	}
	if _, there := got["openssh"]; there {
		t.Errorf("a value that was not measured is there: %v", got)
	}
}

func TestParseStat(t *testing.T) {
	s, err := parseStat([]byte("42 (a) b (c) S 7 1 1 0 -1 4194560 100 0 0 0 3 4 5 6 20 0 1 0 99 1 1"))
	if err != nil {
		t.Fatal(err)
	}
	if want := (stat{pid: 42, parent: 7, name: "a) b (c", own: 70 * time.Millisecond, cpu: 180 * time.Millisecond}); s != want {
		t.Errorf("parseStat = %+v, want %+v", s, want)
	}
	for _, bad := range []string{"", "42", "42 (x", ") 42 (", "42 (x) S 7", "x (x) S 7 1 1 0 -1 4194560 100 0 0 0 3 4 5 6 20"} {
		if s, err := parseStat([]byte(bad)); err == nil {
			t.Errorf("parseStat(%q) = %+v, want an error", bad, s)
		}
	}
}

func TestFamilyHasItself(t *testing.T) {
	all, err := family(os.Getpid())
	if err != nil || len(all) == 0 || all[0].pid != os.Getpid() || all[0].parent != os.Getppid() {
		t.Fatalf("family = %+v, %v", all, err)
	}
	if n, err := proportional(os.Getpid()); err != nil || n < 1<<20 {
		t.Errorf("proportional = %v, %v, want more than a megabyte", n, err)
	}
}

// stageWithPlain is the plain server in this process, and the sink.
func stageWithPlain(t *testing.T) *door {
	t.Helper()
	dir := t.TempDir()
	k, err := makeKeys(dir)
	if err != nil {
		t.Fatal(err)
	}
	s, err := startSink()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.close)
	st := &stage{dir: dir, keys: k, sink: s, kex: []string{"curve25519-sha256"}}
	if err := writeText(st.data()); err != nil {
		t.Fatal(err)
	}
	in, stop := io.Pipe()
	out, said := io.Pipe()
	ended := make(chan error, 1)
	go func() { ended <- plainRole(in, said) }()
	t.Cleanup(func() {
		stop.Close()
		if err := <-ended; err != nil {
			t.Errorf("the plain server: %v", err)
		}
	})
	if err := json.NewEncoder(stop).Encode(plainOptions{HostKey: k.host, AuthorizedKey: k.clientPublic}); err != nil {
		t.Fatal(err)
	}
	line := make([]byte, 100)
	n, err := out.Read(line)
	if err != nil {
		t.Fatal(err)
	}
	return st.plainDoor(strings.Fields(string(line[:n]))[2], "bench")
}

// Every trial finds something on a server that works.
func TestTrials(t *testing.T) {
	d := stageWithPlain(t)
	for _, tt := range []struct {
		name  string
		trial trial
		waits bool
	}{
		{"connect", one(connect), true},
		{"connect, many", many(2, connect), false},
		{"run", one(connectAndRun), true},
		{"run on an open connection", runOnOpen, true},
		{"echo", echo, true},
		{"output", output, false},
		{"upload", upload, false},
		{"forward down", forwardDown, false},
		{"forward up", forwardUp, false},
		{"forward down, OpenSSH", throughSSH('d', downOver), false},
		{"forward up, OpenSSH", throughSSH('u', upOver), false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			s, err := tt.trial(t.Context(), d, 20*time.Millisecond)
			if err != nil {
				t.Fatal(err)
			}
			if s.amount <= 0 || s.took <= 0 || tt.waits != (len(s.waits) >= few) {
				t.Errorf("found %v in %v, %d waits", s.amount, s.took, len(s.waits))
			}
		})
	}
}

// A trial fails, and does not hang, when it is interrupted or nobody serves.
func TestTrialsFail(t *testing.T) {
	d := stageWithPlain(t)
	ctx, cancel := context.WithCancel(t.Context())
	c, err := d.dial(ctx)
	if err != nil {
		t.Fatal(err)
	}
	cancel()
	if err := c.run("cat"); err == nil {
		t.Error("a command ran on after the end of its context")
	}
	if _, err := one(connect)(ctx, d, time.Second); err == nil {
		t.Error("a connection was made after the end of its context")
	}
	wrong := *d
	wrong.config, wrong.KnownHosts = nil, filepath.Join(t.TempDir(), "known_hosts")
	if err := os.WriteFile(wrong.KnownHosts, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := one(connect)(t.Context(), &wrong, time.Second); err == nil {
		t.Error("a host that is not known was taken")
	}
}

func TestTerminalsAnswer(t *testing.T) {
	d := stageWithPlain(t)
	ts, err := openTerminals(t.Context(), d, 20)
	defer ts.close()
	if err != nil {
		t.Fatal(err)
	}
	if len(ts.typing) != 20 {
		t.Fatalf("%d terminals are open", len(ts.typing))
	}
	if err := ts.answer(); err != nil {
		t.Error(err)
	}
}

func TestReadPgbench(t *testing.T) {
	out := "pgbench (15.8)\nnumber of transactions actually processed: 3000\nnumber of failed transactions: 0 (0.000%)\nlatency average = 0.5 ms\ntps = 1500.5 (without initial connection time)\n"
	s, err := readPgbench([]byte(out))
	if err != nil || s.amount != 3000 || int64(s.amount/s.took.Seconds()) != 1500 {
		t.Errorf("%+v, %v", s, err)
	}
	for _, bad := range []string{"", "tps = x (without", strings.Replace(out, "1500.5", "0", 1)} {
		if s, err := readPgbench([]byte(bad)); err == nil {
			t.Errorf("%q: %+v", bad, s)
		}
	}
}
