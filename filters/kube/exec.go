package kube

import (
	"slices"
	"strings"

	"mvdan.cc/sh/v3/syntax"

	"github.com/sallyport-ssh/sallyport/filters/command"
)

// inContainer reads what an exec, attach or log says of itself (k8s.io/api/core/v1, PodExecOptions).
func (r *Request) inContainer() {
	switch r.Subresource {
	case "exec":
		r.Command = r.Query["command"]
		fallthrough
	case "attach", "log":
		r.Container = r.Query.Get("container")
	}
}

// Terminal says whether an exec or attach asks for one.
func (r *Request) Terminal() bool { return isTrue(r.Query, "tty") }

// Interactive says whether an exec or attach sends input.
func (r *Request) Interactive() bool { return isTrue(r.Query, "stdin") }

// CommandLine is the argv of an exec as a shell would have to be given it.
func (r *Request) CommandLine() string {
	words := make([]string, len(r.Command))
	for i, w := range r.Command {
		q, err := syntax.Quote(w, syntax.LangBash)
		if err != nil { // a NUL: no program can be given that
			q = "\x00"
		}
		words[i] = q
	}
	return strings.Join(words, " ")
}

// classifyCommand adds what the command of an exec is known to do. A program that reads commands, with input, is
// opaque: what it will be told is not known.
func (r *Request) classifyCommand() {
	if len(r.Command) == 0 {
		r.opaque("no command is named")
		return
	}
	f := command.Parse(r.CommandLine())
	for _, class := range f.Context()["classes"].([]string) {
		r.add(class, "")
	}
	if f.Opaque {
		r.opaque("what the command does is not known")
	}
	if slices.Contains(r.Classes, "interpreter") && r.Interactive() {
		r.opaque("what it will be told to do is not known")
	}
}
