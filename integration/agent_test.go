package integration

import (
	"bufio"
	"encoding/json"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// A robot is a coding agent that has nothing but `ssh` and what policies/AGENTS.md says: it runs a command,
// reads the gate's own lines on stderr, and goes by the exit status.
type robot struct {
	t *testing.T
	d *door
}

// A said is one line of the gate's own.
type said struct {
	Event     string `json:"sallyport"`
	ID        string `json:"id"`
	Policy    string `json:"policy"`
	Reason    string `json:"reason"`
	Expires   string `json:"expires"`
	Until     string `json:"until"`
	Covers    string `json:"covers"`
	Exit      int    `json:"exit"`
	Approvers []string
	Approved  int
	Needed    int
}

// An errand is one command of a robot's.
type errand struct {
	*robot
	cmd  *exec.Cmd
	out  strings.Builder
	told chan said // every line of the gate's, as it comes; closed at the end
	rest strings.Builder
	done chan struct{}
}

func (r *robot) start(target, command string) *errand {
	r.t.Helper()
	e := &errand{robot: r, cmd: r.d.ssh("agent", "-o", "SetEnv=SALLYPORT_JSON=1", target, command), told: make(chan said, 100), done: make(chan struct{})}
	e.cmd.Stdout = &e.out
	stderr, err := e.cmd.StderrPipe()
	if err != nil {
		r.t.Fatal(err)
	}
	if err := e.cmd.Start(); err != nil {
		r.t.Fatal(err)
	}
	go func() { // ends with the command's stderr
		defer close(e.done)
		defer close(e.told)
		lines := bufio.NewScanner(stderr)
		for lines.Scan() {
			var s said
			if json.Unmarshal(lines.Bytes(), &s) == nil && s.Event != "" {
				e.told <- s
			} else {
				e.rest.WriteString(lines.Text() + "\n")
			}
		}
	}()
	return e
}

// next is what the gate says next, which must be this event.
func (e *errand) next(event string) said {
	e.t.Helper()
	select {
	case s, ok := <-e.told:
		if !ok || s.Event != event {
			e.t.Fatalf("the gate says %+v, want %s; stderr: %s", s, event, e.rest.String())
		}
		return s
	case <-time.After(30 * time.Second):
		e.t.Fatalf("the gate does not say %s", event)
	}
	return said{}
}

// end waits for the command and returns its exit status and output.
func (e *errand) end() (int, string) {
	e.t.Helper()
	<-e.done
	_ = e.cmd.Wait() // the status says how it ended
	return e.cmd.ProcessState.ExitCode(), e.out.String()
}

const agentPolicies = `
@id("nobody-answers") @hold("approvers") @wait("2s")
permit (principal, action == Action::"command:run", resource) when { context.text like "*nobody-answers*" };
@id("two-of-us") @hold("approvers") @quorum("2") @grant("10m")
permit (principal, action == Action::"command:run", resource) when { context.text like "*two-of-us*" };
@id("again") @hold("approvers") @grant("10m")
permit (principal, action == Action::"command:run", resource) when { context.text like "*again-and-again*" };
`

const twoApprovers = `
users:
  - {name: approver, groups: [users, approvers, auditors]}
  - {name: second, groups: [users, approvers]}
policies: [default.cedar, more.cedar]
`

// An agent with nothing but ssh lives through everything that a gate does to it.
func TestAgentLives(t *testing.T) {
	d := openDoor(t, twoApprovers, "default.cedar", defaultPolicies(), "more.cedar", agentPolicies)
	r := &robot{t, d}
	approver := func(args ...string) result { return do(t, d.ssh("approver", append([]string{"gate"}, args...)...)) }

	t.Run("allowed", func(t *testing.T) {
		code, out := r.start("demo", "cat README.txt").end()
		if code != 0 || !strings.Contains(out, "demo target") {
			t.Errorf("exit %d: %s", code, out)
		}
		if code, _ := r.start("demo", "exit 3").end(); code != 3 {
			t.Errorf("the command's own exit status comes as %d", code)
		}
	})
	t.Run("masked", func(t *testing.T) {
		code, out := r.start("demo", "cat customers.csv app/config.env").end()
		if code != 0 || strings.Contains(out, "@example.com") || strings.Contains(out, "correct-horse-battery") || !strings.Contains(out, "****") {
			t.Errorf("exit %d: %.400s", code, out)
		}
	})
	t.Run("held and approved", func(t *testing.T) {
		e := r.start("demo", "rm old/notes.txt")
		held := e.next("held")
		if held.ID == "" || held.Policy != "command-destructive" || len(held.Approvers) != 1 || held.Needed != 1 {
			t.Errorf("%+v", held)
		}
		if expires, err := time.Parse(time.RFC3339, held.Expires); err != nil || time.Until(expires) < 5*time.Minute {
			t.Errorf("it waits until %s", held.Expires)
		}
		if res := approver("approve", held.ID, "go ahead"); res.code != 0 {
			t.Fatalf("%+v", res)
		}
		e.next("approved")
		if code, _ := e.end(); code != 0 {
			t.Errorf("exit %d", code)
		}
	})
	t.Run("held and denied", func(t *testing.T) {
		e := r.start("demo", "rm -rf app")
		approver("deny", e.next("held").ID, "the app is in use")
		refused := e.next("refused")
		code, _ := e.end()
		if code != 77 || refused.Exit != 77 || !strings.Contains(refused.Reason, "the app is in use") {
			t.Errorf("exit %d, %+v", code, refused)
		}
	})
	t.Run("held until nobody answers", func(t *testing.T) {
		e := r.start("demo", "echo nobody-answers")
		e.next("held")
		refused := e.next("refused")
		if code, out := e.end(); code != 75 || refused.Exit != 75 || out != "" {
			t.Errorf("exit %d, %q, %+v", code, out, refused)
		}
	})
	t.Run("denied by a policy", func(t *testing.T) {
		res := do(t, d.ssh("agent", "-o", "SetEnv=SALLYPORT_JSON=1", "-W", "10.0.0.1:22", "gate"))
		if res.code == 0 {
			t.Errorf("%+v", res)
		}
	})
	t.Run("approved by one of two, and told so", func(t *testing.T) {
		e := r.start("demo", "echo two-of-us")
		id := e.next("held").ID
		approver("approve", id)
		if s := e.next("waiting"); s.Approved != 1 || s.Needed != 2 {
			t.Errorf("%+v", s)
		}
		if res := do(t, d.ssh("second", "gate", "approve", id)); res.code != 0 {
			t.Fatalf("%+v", res)
		}
		if s := e.next("approved"); s.Covers != "time" || s.Until == "" {
			t.Errorf("%+v", s)
		}
		if code, out := e.end(); code != 0 || out != "two-of-us\n" {
			t.Errorf("exit %d, %q", code, out)
		}
	})
	t.Run("the connection broke, and the identical command passes again", func(t *testing.T) {
		e := r.start("demo", "echo again-and-again")
		id := e.next("held").ID
		waiter := do(t, d.ssh("agent", "gate", "approvals"))
		if !strings.Contains(waiter.out, id) {
			t.Errorf("its own request is not listed: %+v", waiter)
		}
		approver("approve", id)
		if code, _ := e.end(); code != 0 {
			t.Fatalf("exit %d", code)
		}
		again := r.start("demo", "echo again-and-again")
		again.next("approved")
		if code, out := again.end(); code != 0 || out != "again-and-again\n" {
			t.Errorf("again: exit %d, %q", code, out)
		}
		other := r.start("demo", "echo  again-and-again") // one space more is another command
		other.next("held")
		if err := other.cmd.Process.Kill(); err != nil {
			t.Error(err)
		}
		other.end()
	})
	t.Run("waits elsewhere, and takes back", func(t *testing.T) {
		e := r.start("demo", "rm -rf app")
		id := e.next("held").ID
		if res := do(t, d.ssh("agent", "gate", "withdraw", id)); res.code != 0 {
			t.Fatalf("%+v", res)
		}
		if code, _ := e.end(); code != 75 {
			t.Errorf("exit %d", code)
		}
		res := do(t, d.ssh("agent", "-o", "SetEnv=SALLYPORT_JSON=1", "gate", "wait", id))
		if res.code != 75 || !strings.Contains(res.out, `"state":"withdrawn"`) {
			t.Errorf("%+v", res)
		}
	})
	t.Run("builds without being held", func(t *testing.T) {
		for _, command := range []string{"git status", "grep -rn card customers.csv | wc -l", "make -n", "npm test", "go test ./..."} {
			e := r.start("demo", command)
			for s := range e.told {
				t.Errorf("%s: %+v", command, s) // whether the tool is there is no matter
			}
			e.end()
		}
	})
	t.Run("does not answer itself", func(t *testing.T) {
		e := r.start("demo", "rm -rf app")
		id := e.next("held").ID
		for _, user := range []string{"agent", "developer"} {
			if res := do(t, d.ssh(user, "gate", "approve", id)); res.code == 0 {
				t.Errorf("%s approves it: %+v", user, res)
			}
			if res := do(t, d.ssh(user, "gate", "preapprove", "--like", id, "--for", "1h")); res.code == 0 {
				t.Errorf("%s approves it in advance: %+v", user, res)
			}
		}
		approver("deny", id)
		if code, _ := e.end(); code != 77 {
			t.Errorf("exit %d", code)
		}
	})
}

// An approver sees what the session's terminal showed when it asked, masked like everything that is shown.
func TestScreenOfAHold(t *testing.T) {
	d := openDoor(t, "")
	c := d.ssh("developer", "-tt", "demo")
	in, err := c.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out := new(lockedBuffer)
	c.Stdout, c.Stderr = out, out
	if err := c.Start(); err != nil {
		t.Fatal(err)
	}
	type step struct{ send, until string }
	for _, s := range []step{{"", "$ "}, {"head -3 app/config.env\n", "AWS_SECRET"}, {"rm old/notes.txt\n", "held"}} {
		if _, err := in.Write([]byte(s.send)); err != nil {
			t.Fatal(err)
		}
		d.until("the terminal shows "+s.until, func() bool { return strings.Contains(out.String(), s.until) })
	}
	var holds []struct{ ID string }
	if res := do(t, d.ssh("approver", "gate", "approvals", "--json")); json.Unmarshal([]byte(res.out), &holds) != nil || len(holds) != 1 {
		t.Fatalf("%+v", res)
	}
	var shown struct{ Screen []string }
	if res := do(t, d.ssh("approver", "gate", "show", holds[0].ID, "--json")); json.Unmarshal([]byte(res.out), &shown) != nil {
		t.Fatalf("%+v", res)
	}
	screen := strings.Join(shown.Screen, "\n")
	if !strings.Contains(screen, "head -3 app/config.env") || !strings.Contains(screen, "APP_ENV=demo") || !strings.Contains(screen, "rm old/notes.txt") {
		t.Errorf("the screen is\n%s", screen)
	}
	if strings.Contains(screen, "wJalrXUtnFEMI") || strings.Contains(screen, "IOSFODNN7") {
		t.Errorf("the screen shows a secret:\n%s", screen)
	}
	do(t, d.ssh("approver", "gate", "deny", holds[0].ID))
	d.until("the shell goes on", func() bool { return strings.Contains(out.String(), "denied by approver") })
	if _, err := in.Write([]byte("exit\n")); err != nil {
		t.Error(err)
	}
	_ = c.Wait() // with the status of the last command
}

// figures is the token that the gate's figures are read with.
const figures = "0123456789abcdef0123456789abcdef"

// scrape reads one figure of the gate.
func scrape(t *testing.T, d *door, name string) string {
	t.Helper()
	req, err := http.NewRequest(http.MethodGet, strings.TrimSuffix(d.url, "/")+"/metrics", nil)
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Authorization", "Bearer "+figures)
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	lines := bufio.NewScanner(res.Body)
	for lines.Scan() {
		if value, ok := strings.CutPrefix(lines.Text(), name+" "); ok {
			return value
		}
	}
	return ""
}

// A change of the policies is put in force as a whole or not at all, and the alarm is where those who run the gate look.
func TestPoliciesReload(t *testing.T) {
	d := openDoor(t, twoApprovers+"metrics: {token_file: token}\n", "default.cedar", defaultPolicies(), "more.cedar", agentPolicies, "token", figures)
	inForce := func() result { return do(t, d.ssh("approver", "gate", "policies")) }
	first := inForce()
	if first.code != 0 || !strings.Contains(first.out, "in force") || strings.Contains(first.out, "refused") {
		t.Fatalf("%+v", first)
	}
	if res := do(t, d.ssh("agent", "gate", "policies")); res.code != 77 {
		t.Errorf("an agent sees them: %+v", res)
	}

	d.write("more.cedar", agentPolicies+`permit (principal, action == Action::"command:rum", resource);`)
	d.until("the bad set is told of", func() bool { return strings.Contains(inForce().out, "command:rum") })
	if out := inForce().out; !strings.Contains(out, "more.cedar:8:") || !strings.Contains(out, `did you mean "command:run"?`) {
		t.Errorf("%s", out)
	}
	if res := do(t, d.ssh("approver", "gate", "approvals")); !strings.Contains(res.err, "warning: the policies that were changed at") {
		t.Errorf("no warning: %+v", res)
	}
	if res := do(t, d.ssh("agent", "gate", "approvals")); strings.Contains(res.err, "warning") {
		t.Errorf("those who may not see it are warned: %+v", res)
	}
	if res := do(t, d.ssh("agent", "demo", "cat README.txt")); res.code != 0 {
		t.Errorf("the old ones are not in force: %+v", res)
	}
	if got := scrape(t, d, "sallyport_policies_refused"); got != "1" {
		t.Errorf("the metric is %q", got)
	}
	if log := d.log(); !strings.Contains(log, "policies not reloaded") {
		t.Errorf("the log says nothing")
	}
	audited := func(kind string) bool {
		b, err := exec.Command("sqlite3", filepath.Join(d.dir, "ledger.db"), "select count(*) from audit where kind = '"+kind+"'").Output()
		if err != nil { // where there is no sqlite3, the file itself has it
			b, err = os.ReadFile(filepath.Join(d.dir, "ledger.db-wal"))
			return err == nil && strings.Contains(string(b), kind)
		}
		return strings.TrimSpace(string(b)) != "0"
	}
	if !audited("policies.refused") {
		t.Error("no audit event")
	}

	d.write("more.cedar", agentPolicies+`@id("no-readme") forbid (principal is Agent, action == Action::"command:run", resource) when { context.text like "*README*" };`)
	d.until("the good set is in force", func() bool { return do(t, d.ssh("agent", "demo", "cat README.txt")).code == 77 })
	if out := inForce().out; strings.Contains(out, "refused") {
		t.Errorf("still told of: %s", out)
	}
}
