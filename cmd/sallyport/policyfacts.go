package main

import (
	"context"
	"maps"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/sallyport-ssh/sallyport/filters/command"
	"github.com/sallyport-ssh/sallyport/filters/kube"
	"github.com/sallyport-ssh/sallyport/filters/sql"
	"github.com/sallyport-ssh/sallyport/filters/sql/child"
	"github.com/sallyport-ssh/sallyport/filters/sql/grammar"
	"github.com/sallyport-ssh/sallyport/replay/ledger"
)

// A rereader understands operations of the past as the gate would today, so that facts which it did not find then count.
// What was written down stays where the text does not tell: where the session was, what a catalog or a request's body said,
// and all of it where a secret in the text was masked.
type rereader struct{ parser *child.Pool }

func newRereader() *rereader {
	return &rereader{child.New(child.Options{Command: []string{"/proc/self/exe", grammar.Argument}, Processes: 1,
		Timeout: time.Minute})} // nobody waits for it: a busy machine must not make a statement one that cannot be read
}

func (r *rereader) close() { _ = r.parser.Close() }

// read returns the action and the facts of op.
func (r *rereader) read(ctx context.Context, op ledger.Operation) (string, map[string]any, error) {
	text, _ := op.Facts["text"].(string)
	if strings.HasPrefix(op.Action, "kube:") {
		text, _, _ = strings.Cut(op.Text, "\n")
	}
	if text == "" || strings.Contains(text, "***") {
		return op.Action, op.Facts, nil
	}
	switch {
	case op.Action == "command:run":
		return op.Action, overlay(op.Facts, command.Parse(text).Context()), nil
	case strings.HasPrefix(op.Action, "sql:"):
		return r.readSQL(ctx, op, text)
	case strings.HasPrefix(op.Action, "kube:"):
		action, facts := readKube(op, text)
		return action, facts, nil
	}
	return op.Action, op.Facts, nil
}

// readSQL keeps that a statement was opaque: a catalog may have said so.
func (r *rereader) readSQL(ctx context.Context, op ledger.Operation, text string) (string, map[string]any, error) {
	reading, err := r.parser.Read(ctx, text, sql.Session{})
	if err != nil {
		return "", nil, err
	}
	if reading.Syntax != "" || len(reading.Statements) != 1 {
		return op.Action, op.Facts, nil // one of several, or of another server's dialect: as it was read then
	}
	st := reading.Statements[0]
	st.Unknown = nil // functions of the server's, of which it was known then what they are
	facts := careful(op.Facts, st.Context(text))
	facts["relations"] = union(op.Facts["relations"], st.Relations()) // views, too
	return st.Action, facts, nil
}

// readKube keeps the classes that the request had: its body may have said so.
func readKube(op ledger.Operation, text string) (string, map[string]any) {
	method, rest, _ := strings.Cut(text, " ")
	u, err := url.ParseRequestURI(rest)
	if err != nil {
		return op.Action, op.Facts
	}
	request, err := kube.Parse(method, u)
	if err != nil {
		return op.Action, op.Facts
	}
	facts := careful(op.Facts, request.Context())
	facts["classes"] = union(op.Facts["classes"], request.Classes)
	return request.Action(), facts
}

// union is both lists, sorted.
func union(then any, now []string) []string {
	was, _ := then.([]string)
	all := slices.Concat(was, now)
	slices.Sort(all)
	return slices.Compact(all)
}

// overlay puts what was found over what was written down.
func overlay(then, now map[string]any) map[string]any {
	facts := maps.Clone(then)
	maps.Copy(facts, now)
	return facts
}

// careful is overlay, and keeps that something was opaque, and why.
func careful(then, now map[string]any) map[string]any {
	facts := overlay(then, now)
	if then["opaque"] == true {
		facts["opaque"], facts["why"] = true, then["why"]
	}
	return facts
}
