package sshd

import (
	"bytes"
	"encoding/json"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"
)

func guide(t *testing.T, name string) string {
	t.Helper()
	b, err := os.ReadFile("../policies/" + name)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// The messages that agents are shown are such as the gate writes.
func TestAgentsGuideMessages(t *testing.T) {
	events := map[string]bool{}
	for line := range strings.Lines(guide(t, "AGENTS.md")) {
		line = strings.TrimSpace(line)
		if !strings.HasPrefix(line, `{"sallyport"`) {
			continue
		}
		d := json.NewDecoder(bytes.NewReader([]byte(line)))
		d.DisallowUnknownFields()
		var n notice
		if err := d.Decode(&n); err != nil {
			t.Errorf("%v in %s", err, line)
		}
		events[n.Event] = true
	}
	for _, want := range []string{"held", "waiting", "approved", "refused"} {
		if !events[want] {
			t.Errorf("the guide does not show %s", want)
		}
	}
}

var ownCommand = regexp.MustCompile("ssh gate@gate ([a-z]+)")

// The commands that the guides name exist.
func TestGuidesNameRealCommands(t *testing.T) {
	for _, name := range []string{"AGENTS.md", "APPROVING.md", "README.md"} {
		named := ownCommand.FindAllStringSubmatch(guide(t, name), -1)
		if len(named) == 0 {
			t.Errorf("%s names none", name)
		}
		for _, m := range named {
			if !slices.ContainsFunc(gateCommands, func(c gateCommand) bool { return c.name == m[1] }) {
				t.Errorf("%s names %s, which is no command of the gate", name, m[1])
			}
		}
	}
}

// What the guide for approvers says to type is understood as it is meant.
func TestApproversGuideExamples(t *testing.T) {
	for line := range strings.Lines(guide(t, "APPROVING.md")) {
		command, ok := strings.CutPrefix(strings.TrimSpace(line), "ssh gate@gate preapprove ")
		if !ok || strings.Contains(line, "--like") {
			continue
		}
		command = strings.ReplaceAll(command, "'", "") // as the client's shell takes them away
		g := &gateCall{session: &session{asked: asked{command: "preapprove " + command}}}
		words, text, _ := strings.Cut(command, " -- ")
		g.args, g.text = strings.Fields(words), text
		a := advanceOf(g)
		if err := g.readAdvance(&a); err != nil {
			t.Errorf("%s: %v", line, err)
		}
		if len(a.For) != 1 || a.Target != "web1" || (a.Text == "") == (a.When == "") || !a.Until.After(a.From) {
			t.Errorf("%s: %+v", line, a)
		}
	}
}
