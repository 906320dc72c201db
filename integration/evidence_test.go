package integration

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"io/fs"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/sallyport-ssh/sallyport/replay/cast"
)

// newest returns the id of the session that began last, once it has ended.
func (d *door) newest() (id string) {
	d.t.Helper()
	d.until("the session has ended", func() bool {
		var row struct{ ID, State string }
		out := strings.TrimLeft(do(d.t, d.sallyport("sessions", "ls", "--json")).out, "[ \n")
		if json.NewDecoder(strings.NewReader(out)).Decode(&row) != nil {
			return false
		}
		id = row.ID
		return row.State == "complete"
	})
	return id
}

// events reads a session's recording.
func (d *door) events(id string) (header cast.Header, events []cast.Event, raw string) {
	d.t.Helper()
	exported := do(d.t, d.sallyport("export", id))
	if raw = exported.out; exported.code != 0 {
		d.t.Fatalf("export: %s", exported.err)
	}
	r, err := cast.NewReader(strings.NewReader(raw))
	if err != nil {
		d.t.Fatal(err)
	}
	for {
		e, err := r.Next()
		if err == io.EOF {
			return r.Header, events, raw
		}
		if err != nil {
			d.t.Fatal(err)
		}
		e.Data = bytes.Clone(e.Data)
		e.JSON = bytes.Clone(e.JSON)
		events = append(events, e)
	}
}

// TestRecordOfACommand: the record tells stderr apart, and has argv, variables, exit status, what was asked of
// the channel, and how exactly commands were understood.
func TestRecordOfACommand(t *testing.T) {
	d := openDoor(t, "{}")
	cmd := d.ssh("developer", "-o", "SetEnv=LC_EVIDENCE=yes", "-o", "SendEnv=SALLY_SECRET", "demo", `printf 'to %s' out; printf 'to %s' err >&2; exit 7`)
	cmd.Env = append(os.Environ(), "SALLY_SECRET=hunter2-in-the-environment")
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	if err := cmd.Run(); cmd.ProcessState.ExitCode() != 7 || stdout.String() != "to out" || stderr.String() != "to err" {
		t.Fatalf("%v, %q, %q", err, &stdout, &stderr)
	}
	header, events, raw := d.events(d.newest())
	if !strings.Contains(header.Command, "exit 7") || header.Env["LC_EVIDENCE"] != "yes" {
		t.Errorf("header %+v", header)
	}
	said := map[cast.Stream]string{}
	var asked []string
	status := ""
	for _, e := range events {
		switch {
		case e.Code == 'o':
			said[e.Stream] += string(e.Data)
		case e.Code == 'x':
			status = string(e.Text)
		case e.Kind == "request":
			asked = append(asked, string(e.JSON))
		case e.Kind == "meta" && !regexp.MustCompile(`"guard":"n/a"`).Match(e.JSON):
			t.Errorf("meta %s", e.JSON)
		}
	}
	if said[cast.Stdout] != "to out" || said[cast.Stderr] != "to err" || status != "7" {
		t.Errorf("recorded %q, exit %q", said, status)
	}
	for _, want := range []string{`{"type":"env","text":"LC_EVIDENCE","ok":true}`, `{"type":"env","text":"SALLY_SECRET","ok":false}`, `{"type":"exec","ok":true}`} {
		if !strings.Contains(strings.Join(asked, "\n"), want) {
			t.Errorf("requests lack %s:\n%s", want, strings.Join(asked, "\n"))
		}
	}
	if strings.Contains(raw, "hunter2") {
		t.Error("the value of a variable that was refused is in the record")
	}
}

// TestTypedPasswordIsNowhere: what is typed while echo is off, as sudo and ssh ask for passwords, is in no file.
func TestTypedPasswordIsNowhere(t *testing.T) {
	d := openDoor(t, "{}")
	cmd := d.ssh("developer", "-tt", "demo")
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	var screen lockedBuffer
	cmd.Stdout, cmd.Stderr = &screen, &screen
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	see := func(what string, when *regexp.Regexp) {
		t.Helper()
		d.until("the screen shows "+what, func() bool { return when.MatchString(screen.String()) })
	}
	say := func(text string) {
		t.Helper()
		if _, err := io.WriteString(in, text); err != nil {
			t.Fatal(err)
		}
	}
	see("a prompt", regexp.MustCompile(`\$ $`))
	say("read -rsp 'Password: ' word; echo; echo it has ${#word} characters\r")
	see("the question", regexp.MustCompile(`Password: $`))
	say("correct-horse-77\r")
	see("that it was read", regexp.MustCompile(`it has 16 characters`))
	say("exit\r")
	if err := cmd.Wait(); err != nil {
		t.Fatalf("%v\n%s", err, &screen)
	}
	_, events, raw := d.events(d.newest())
	shown := ""
	for _, e := range events {
		if e.Code == 'o' {
			shown += string(e.Data)
		}
		if e.Code == 'i' {
			t.Errorf("input is recorded: %q", e.Data)
		}
	}
	if !strings.Contains(shown, "it has 16 characters") || !strings.Contains(raw, `"guard":"hook"`) {
		t.Errorf("the recording is not the session's: %q", shown)
	}
	const secret = "correct-horse-77"
	if strings.Contains(raw, secret) || strings.Contains(screen.String(), secret) {
		t.Error("the password is in the recording, or was shown")
	}
	err = filepath.WalkDir(d.dir, func(path string, e fs.DirEntry, err error) error {
		if err != nil || !e.Type().IsRegular() {
			return err
		}
		b, err := os.ReadFile(path)
		if bytes.Contains(b, []byte(secret)) {
			t.Errorf("the password is in %s", path)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
}

// TestMetricsOfTheDoor: a real gate's figures, and that strangers at the door make no series of their own.
func TestMetricsOfTheDoor(t *testing.T) {
	addr := freeAddr(t)
	d := openDoor(t, "metrics: {listen: '"+addr+"'}")
	scrape := func() string {
		t.Helper()
		r, err := http.Get("http://" + addr + "/metrics")
		if err != nil {
			t.Fatal(err)
		}
		defer r.Body.Close()
		b, err := io.ReadAll(r.Body)
		if err != nil || r.StatusCode != http.StatusOK {
			t.Fatalf("%d, %v", r.StatusCode, err)
		}
		return string(b)
	}
	if got := do(t, d.ssh("developer", "demo", "echo 4111 1111 1111 1111")); got.code != 0 {
		t.Fatalf("%+v", got)
	}
	d.newest()
	text := scrape()
	for _, want := range []string{
		`sallyport_handshakes_total{result="ok"} 1`, `sallyport_sessions_total{kind="exec"} 1`, `sallyport_sessions{kind="exec"} 0`,
		`sallyport_decisions_total{action="command:run",effect="allow"} 1`, "sallyport_masked_total 1", "sallyport_recordings_sealed_total 1",
		"sallyport_recording_alarms_total{what=\"ship\"} 0", "sallyport_connections 0",
	} {
		if !strings.Contains(text, want) {
			t.Errorf("no %s in\n%s", want, text)
		}
	}
	names := func(text string) int { return len(regexp.MustCompile(`(?m)^sallyport_[^ ]+ `).FindAllString(text, -1)) }
	before := names(text)
	for i := range 20 {
		c, err := net.Dial("tcp", d.addr())
		if err != nil {
			t.Fatal(err)
		}
		fmt.Fprintf(c, "SSH-2.0-evil{x=\"%d\"}\r\n\xff\xff\xff\xff", i)
		c.Close()
	}
	if got := do(t, d.ssh("developer", "-l", "nobody", "gate", "true")); got.code == 0 {
		t.Errorf("%+v", got)
	}
	d.until("they are counted", func() bool { return strings.Contains(scrape(), `sallyport_handshakes_total{result="failed"} 20`) })
	if after := names(scrape()); after != before {
		t.Errorf("%d series before strangers came, %d after", before, after)
	}
}
