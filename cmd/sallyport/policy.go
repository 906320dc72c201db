package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/url"
	"os"
	"strings"

	"github.com/alecthomas/kong"

	"github.com/sallyport-ssh/sallyport/filters/command"
	"github.com/sallyport-ssh/sallyport/filters/kube"
	"github.com/sallyport-ssh/sallyport/policies"
)

// Exit codes that tell a script what was decided, the same that a held or denied command has (sysexits.h: try again
// later, no permission).
const (
	exitHold = 75
	exitDeny = 77
)

type policyCmd struct {
	Check    policyCheckCmd    `cmd:"" help:"Say everything that is wrong or surely not meant in policies."`
	Test     policyTestCmd     `cmd:"" help:"Run cases from YAML files, and show which decisions differ."`
	Explain  policyExplainCmd  `cmd:"" help:"Say how an operation would be decided, and why. Exits 0 (allow), 75 (hold) or 77 (deny)."`
	Diff     policyDiffCmd     `cmd:"" help:"Replay past operations under two sets of policies, and show what would be decided otherwise."`
	Schema   policySchemaCmd   `cmd:"" help:"Print the schema: entities, actions, and the facts of each."`
	Defaults policyDefaultsCmd `cmd:"" help:"Print the policies in force where none are given."`
}

// resolver knows identities and targets by the names that a configuration gives them.
type resolver interface {
	Identity(name string) (policies.Principal, bool)
	Target(name string) (policies.Target, bool)
}

// noNames is the resolver of a command that was given no configuration.
type noNames struct{}

func (noNames) Identity(string) (policies.Principal, bool) { return policies.Principal{}, false }
func (noNames) Target(string) (policies.Target, bool)      { return policies.Target{}, false }

// policyFiles chooses the policies that a command is about, and the gate whose names it may use.
type policyFiles struct {
	placeFlags
	Policies []string `help:"Policy file, or directory of *.cedar; may be repeated. Default: those of --config or --dir, else those in the binary." placeholder:"PATH" type:"path"`
}

// Help is the end of the help of the commands that read policies.
func (policyFiles) Help() string {
	return "Exit status: 0 fine; 1 something is wrong with the policies, or a case is decided otherwise; 2 wrong use, or a file cannot be read. explain: 0 allow, 75 hold, 77 deny."
}

func (f policyFiles) load() (*policies.Set, error) {
	paths := f.Policies
	if file, _ := f.file(); len(paths) == 0 && file != "" {
		p, err := f.open()
		if err != nil {
			return nil, err
		}
		paths = p.config.Policies
	}
	if len(paths) == 0 {
		return policies.Parse(policies.Default()...)
	}
	return policies.Load(paths...)
}

// names are the users and targets of the configuration, if there is one.
func (f policyFiles) names() (resolver, error) {
	if file, _ := f.file(); file == "" {
		return noNames{}, nil
	}
	p, err := f.open()
	if err != nil {
		return nil, err
	}
	return names{p.config}, nil
}

type policyCheckCmd struct {
	policyFiles
	Strict bool `help:"Fail on warnings too."`
	JSON   bool `help:"Print one JSON object." name:"json"`
}

// Run prints what is wrong with the policies.
func (c *policyCheckCmd) Run(k *kong.Context) error {
	set, err := c.load()
	found := policies.ErrorsOf(err)
	if err != nil && found == nil {
		return &exitError{2, err}
	}
	var warnings policies.Problems
	if err == nil {
		warnings = set.Check()
	}
	if c.JSON {
		err = printJSON(k.Stdout, map[string]any{"policies": set.Len(), "errors": nonNil(found), "warnings": nonNil(warnings)})
	} else {
		err = printProblems(k.Stdout, set, found, warnings)
	}
	if err == nil && (len(found) > 0 || c.Strict && len(warnings) > 0) {
		err = &exitError{code: 1}
	}
	return err
}

func printProblems(w io.Writer, set *policies.Set, found, warnings policies.Problems) error {
	var lines []string
	for _, p := range found {
		lines = append(lines, p.Error())
	}
	for _, p := range warnings {
		lines = append(lines, "warning: "+p.Error())
	}
	if len(found) == 0 {
		lines = append(lines, fmt.Sprintf("ok: %d policies", set.Len()))
	}
	_, err := fmt.Fprintln(w, strings.Join(lines, "\n"))
	return err
}

func nonNil(ps policies.Problems) policies.Problems {
	if ps == nil {
		return policies.Problems{}
	}
	return ps
}

type policyTestCmd struct {
	policyFiles
	Cases []string `arg:"" help:"YAML files with cases." type:"path"`
	JSON  bool     `help:"Print one JSON array of all results." name:"json"`
}

// Run runs the cases, and exits with 1 if one is decided otherwise.
func (c *policyTestCmd) Run(k *kong.Context) error {
	set, err := c.load()
	if err != nil {
		return &exitError{2, err}
	}
	var all []policies.Result
	for _, file := range c.Cases {
		results, err := runCases(set, file)
		if err != nil {
			return &exitError{2, err}
		}
		all = append(all, results...)
	}
	failed := 0
	for _, r := range all {
		if !r.OK {
			failed++
		}
	}
	if c.JSON {
		err = printJSON(k.Stdout, all)
	} else {
		err = printResults(k.Stdout, all, failed)
	}
	if err == nil && failed > 0 {
		err = &exitError{code: 1}
	}
	return err
}

func runCases(set *policies.Set, file string) ([]policies.Result, error) {
	text, err := os.ReadFile(file)
	if err != nil {
		return nil, err
	}
	cases, err := policies.ParseCases(file, text)
	if err != nil {
		return nil, err
	}
	return cases.Run(set, findFacts)
}

func printResults(w io.Writer, all []policies.Result, failed int) error {
	var b strings.Builder
	for _, r := range all {
		if r.OK {
			continue
		}
		fmt.Fprintf(&b, "FAIL %s\n", policies.Render([]byte(r.Name)))
		for _, d := range r.Differences {
			for line := range strings.Lines(d) {
				fmt.Fprintf(&b, "  %s\n", policies.Render([]byte(strings.TrimSuffix(line, "\n"))))
			}
		}
	}
	fmt.Fprintf(&b, "%d cases, %d failed\n", len(all), failed)
	_, err := io.WriteString(w, b.String())
	return err
}

// findFacts understands a text as the gate does.
func findFacts(action, text string) (map[string]any, error) {
	if action == "command:run" {
		return command.Parse(text).Context(), nil
	}
	return nil, nil
}

type policyExplainCmd struct {
	policyFiles
	Identity string   `help:"Who: human:NAME:GROUPS, agent:NAME@HUMAN:GROUPS, or a name of the configuration." required:"" placeholder:"I"`
	Target   string   `help:"Where: NAME:KIND:LABEL=VALUE,..., or a name of the configuration." required:"" placeholder:"T"`
	Action   string   `help:"What, by the schema." default:"command:run" placeholder:"A"`
	Fact     []string `help:"A fact besides those found in the text, as NAME=VALUE; may be repeated." placeholder:"FACT" sep:"none"`
	File     string   `help:"File with the text, - for standard input." placeholder:"F"`
	Method   string   `help:"Of a Kubernetes API request: GET, POST, ...; the action is found from it." placeholder:"M"`
	Path     string   `help:"Of a Kubernetes API request, with its query: /api/v1/namespaces/default/pods/x." placeholder:"P"`
	BodyFile string   `help:"File with the body of a Kubernetes API request, JSON or YAML, - for standard input." placeholder:"F"`
	JSON     bool     `help:"Print one JSON object." name:"json"`
	Text     []string `arg:"" optional:"" passthrough:"" help:"The text: a command, or the path of a file operation. Words are joined by spaces, as ssh does; flags stand before it."`
}

// Run prints the decision on the first line, then all that led to it.
func (c *policyExplainCmd) Run(k *kong.Context) error {
	set, err := c.load()
	if err != nil {
		return &exitError{2, err}
	}
	known, err := c.names()
	if err != nil {
		return &exitError{2, err}
	}
	request, err := c.request(known)
	if err != nil {
		return &exitError{2, err}
	}
	e := set.Explain(request)
	if c.JSON {
		err = printJSON(k.Stdout, e)
	} else {
		_, err = io.WriteString(k.Stdout, e.String())
	}
	if err != nil {
		return err
	}
	switch e.Decision.Effect {
	case policies.EffectAllow:
		return nil
	case policies.EffectHold:
		return &exitError{code: exitHold}
	default:
		return &exitError{code: exitDeny}
	}
}

func (c *policyExplainCmd) request(known resolver) (r policies.Request, err error) {
	if err := policies.KnownAction(c.Action); err != nil {
		return r, err
	}
	r.Action = c.Action
	var text string
	if c.Method != "" || c.Path != "" || c.BodyFile != "" {
		r.Action, r.Context, err = c.kube()
	} else if text, err = c.text(); err == nil {
		r.Context, err = policies.FactsFor(c.Action, text, findFacts)
	}
	if err != nil {
		return r, err
	}
	if r.Principal, err = c.principal(known); err != nil {
		return r, err
	}
	if r.Target, err = c.target(known); err != nil {
		return r, err
	}
	for _, f := range c.Fact {
		name, value, err := policies.ParseFact(r.Action, f)
		if err != nil {
			return r, err
		}
		r.Context[name] = value
	}
	return r, nil
}

func (c *policyExplainCmd) principal(known resolver) (policies.Principal, error) {
	if p, ok := known.Identity(c.Identity); ok {
		return p, nil
	}
	return policies.ParseIdentity(c.Identity, known.Identity)
}

func (c *policyExplainCmd) target(known resolver) (policies.Target, error) {
	if t, ok := known.Target(c.Target); ok {
		return t, nil
	}
	return policies.ParseTarget(c.Target)
}

// maxExplained bounds what is read; the gate refuses far shorter texts.
const maxExplained = 4 << 20

// text returns the operation's text, exactly: a file's last newline is part of it.
func (c *policyExplainCmd) text() (string, error) {
	if len(c.Text) > 0 && c.Text[0] == "--" { // ends the flags, and is no part of the command
		c.Text = c.Text[1:]
	}
	if c.File != "" && len(c.Text) > 0 {
		return "", errors.New("give the text or --file, not both")
	}
	if c.File == "" {
		return strings.Join(c.Text, " "), nil
	}
	b, err := readExplained(c.File)
	return string(b), err
}

// readExplained reads a file or, for -, standard input.
func readExplained(file string) ([]byte, error) {
	in := io.Reader(os.Stdin)
	if file != "-" {
		f, err := os.Open(file)
		if err != nil {
			return nil, err
		}
		defer f.Close()
		in = f
	}
	b, err := io.ReadAll(io.LimitReader(in, maxExplained+1))
	if err != nil {
		return nil, fmt.Errorf("read the text: %w", err)
	}
	if len(b) > maxExplained {
		return nil, fmt.Errorf("the text is longer than %d bytes", maxExplained)
	}
	return b, nil
}

// kube understands a Kubernetes API request as the gate does: what cannot be read is an error here, and refused there.
func (c *policyExplainCmd) kube() (action string, facts map[string]any, err error) {
	if c.Method == "" || c.Path == "" || c.File != "" || len(c.Text) > 0 {
		return "", nil, errors.New("give both --method and --path, and neither a text nor --file")
	}
	u, err := url.ParseRequestURI(c.Path)
	if err != nil {
		return "", nil, fmt.Errorf("--path %q cannot be read", c.Path)
	}
	r, err := kube.Parse(strings.ToUpper(c.Method), u)
	if err != nil {
		return "", nil, err
	}
	if c.BodyFile != "" {
		body, err := readExplained(c.BodyFile)
		if err != nil {
			return "", nil, err
		}
		kind := "application/yaml"
		if json.Valid(body) {
			kind = "application/json"
		}
		r.Body(kind, body)
	}
	return r.Action(), r.Context(), nil
}

type policySchemaCmd struct{}

// Run prints the schema.
func (policySchemaCmd) Run(k *kong.Context) error {
	_, err := k.Stdout.Write(policies.Schema())
	return err
}

type policyDefaultsCmd struct{}

// Run prints the default policies.
func (policyDefaultsCmd) Run(k *kong.Context) error {
	for _, src := range policies.Default() {
		if _, err := k.Stdout.Write(src.Text); err != nil {
			return err
		}
	}
	return nil
}

func printJSON(w io.Writer, v any) error {
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetIndent("", "  ")
	enc.SetEscapeHTML(false)
	if err := enc.Encode(v); err != nil {
		return err
	}
	_, err := w.Write(plainJSON(b.Bytes()))
	return err
}
