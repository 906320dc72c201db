package integration

import (
	"bytes"
	"encoding/json"
	"io"
	"io/fs"
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
