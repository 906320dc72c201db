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

// Guard says how exactly it is known what an exec or attach is told: "screen" where its lines are read off a terminal,
// "none" where nobody can, and "n/a" where it is told nothing that it would run.
func (r *Request) Guard() string {
	reads := r.Subresource == "attach" || r.Subresource == "exec" && r.reads
	switch {
	case !reads || !r.Interactive():
		return "n/a"
	case r.Terminal():
		return "screen"
	}
	return "none"
}

// startsShell is why filters/command does not know what a shell will do that was given nothing to do.
const startsShell = " without a command starts a shell"

// classifyCommand adds what the command of an exec is known to do. A program that reads commands, with input, is
// opaque: what it will be told is not known; in a terminal the lines of a shell are read off the screen.
func (r *Request) classifyCommand() {
	if len(r.Command) == 0 {
		r.opaque("no command is named")
		return
	}
	f := command.Parse(r.CommandLine())
	for _, class := range f.Context()["classes"].([]string) {
		r.add(class, "")
	}
	interpreter := slices.Contains(r.Classes, "interpreter")
	r.reads = f.Opaque || interpreter
	asked := r.Guard() == "screen" && !slices.ContainsFunc(f.Why, func(why string) bool { return !strings.HasSuffix(why, startsShell) })
	if f.Opaque && !asked {
		r.opaque("what the command does is not known")
	}
	if interpreter && r.Interactive() && !asked {
		r.opaque("what it will be told to do is not known")
	}
}
