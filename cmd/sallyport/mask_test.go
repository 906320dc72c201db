package main

import (
	"bytes"
	"context"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestMaskFilter(t *testing.T) {
	file := func(text string) string {
		name := filepath.Join(t.TempDir(), "mask.yaml")
		if err := os.WriteFile(name, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		return name
	}
	const in = "a 4111111111111111\nEMP-123456 b jane@example.com\n"
	for _, tt := range []struct {
		name string
		cmd  maskCmd
		in   string
		want string
		code int
		err  string
	}{
		{"plain", maskCmd{}, in, "a 411111**********\nEMP-123456 b j***@*******.***\n", 0, ""},
		{"style", maskCmd{Style: "last4"}, in, "a 411111******1111\nEMP-123456 b j***@*******.***\n", 0, ""},
		{"explain", maskCmd{Explain: true}, in, "1:3: card, 16 bytes\n2:14: email, 16 bytes\n", 1, ""},
		{"explain nothing", maskCmd{Explain: true}, "nothing here\n", "", 0, ""},
		{"config", maskCmd{Config: file("detectors: [card]\npatterns:\n- {name: employee, regex: 'EMP-\\d{6}'}\n")}, in,
			"a 411111**********\nEMP-****** b jane@example.com\n", 0, ""},
		{"empty config", maskCmd{Config: file("# nothing\n")}, "x\n", "x\n", 0, ""},
		{"unknown key", maskCmd{Config: file("style: stars\npattern: []\n")}, "", "", 2, "mask.yaml:2:1: "},
		{"unknown detector", maskCmd{Config: file("detectors:\n- card\n- cards\n")}, "", "", 2, "mask.yaml:3:3: detectors[1] \"cards\" is not known"},
		{"bad pattern", maskCmd{Config: file("patterns:\n- name: x\n  regex: '('\n")}, "", "", 2, "mask.yaml:3:10: patterns[0].regex"},
		{"bad style in the file", maskCmd{Config: file("fields: [ssn]\nstyle: dots\n")}, "", "", 2, "mask.yaml:2:8: style"},
		{"no key", maskCmd{Config: file("style: token\ntoken_key_file: /does/not/exist\n")}, "", "", 2, "mask.yaml:2:17: token_key_file cannot be read"},
		{"files", maskCmd{Files: []string{file("x 4111111111"), file("111111 jane@example.com")}}, "", "x 4111111111111111 j***@*******.***", 0, ""},
		{"a file that is not there", maskCmd{Files: []string{"/does/not/exist"}}, "", "", 2, "/does/not/exist"},
		{"bad style", maskCmd{Style: "dots"}, "", "", 2, "--style"},
		{"no config", maskCmd{Config: "/does/not/exist"}, "", "", 2, "read the configuration"},
		{"terminal", maskCmd{TTY: true, Cols: 40, Rows: 5}, "\x1b[1;9H11111111\x1b[1;1H41111111",
			"\x1b[1;9H11111111\x1b[1;1H41111111\x1b[1;7H\x1b[0m*", 0, ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			var out bytes.Buffer
			err := tt.cmd.run(context.Background(), strings.NewReader(tt.in), &out)
			code := 0
			var exit *exitError
			if errors.As(err, &exit) {
				code = exit.code
			} else if err != nil {
				t.Fatal(err)
			}
			if code != tt.code || tt.err != "" && !strings.Contains(err.Error(), tt.err) {
				t.Errorf("exit %d, %v; want %d, %q", code, err, tt.code, tt.err)
			}
			if got := out.String(); got != tt.want && !(tt.cmd.TTY && strings.HasPrefix(got, tt.want)) {
				t.Errorf("got %q, want %q", got, tt.want)
			}
		})
	}
}

func TestExplainNamesTheFile(t *testing.T) {
	name := filepath.Join(t.TempDir(), "a.log")
	if err := os.WriteFile(name, []byte("x\ny 4111111111111111\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	var out bytes.Buffer
	cmd := maskCmd{Explain: true, Files: []string{name, name}}
	err := cmd.run(context.Background(), strings.NewReader(""), &out)
	want := strings.Repeat(name+":2:3: card, 16 bytes\n", 2)
	if exit := new(exitError); !errors.As(err, &exit) || exit.code != 1 || out.String() != want {
		t.Errorf("%v, %q; want %q", err, out.String(), want)
	}
}

func TestMaskFilterShowsAPromptAtOnceAndMasksWhatIsLate(t *testing.T) {
	in, feed := io.Pipe()
	read, out := io.Pipe()
	done := make(chan error, 1)
	go func() {
		done <- new(maskCmd).run(context.Background(), in, out)
		out.Close()
	}()
	expect := func(want string) {
		t.Helper()
		got := make([]byte, len(want))
		if _, err := io.ReadFull(read, got); err != nil || string(got) != want {
			t.Fatalf("got %q, %v; want %q", got, err, want)
		}
	}
	feed.Write([]byte("$ "))
	expect("$ ")
	feed.Write([]byte("4111 1111 11"))
	expect("4111 11** **") // the end only after its time
	feed.Write([]byte("11 1111 x\n"))
	expect("** **** x\n")
	feed.Close()
	if rest, err := io.ReadAll(read); len(rest) > 0 || err != nil {
		t.Errorf("then %q, %v", rest, err)
	}
	if err := <-done; err != nil {
		t.Error(err)
	}
}
