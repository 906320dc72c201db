package policies

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/cedar-policy/cedar-go"
	"github.com/cedar-policy/cedar-go/x/exp/ast"
)

// Bounds of what is read: far beyond any set that people wrote, and small enough to fail early on a wrong path.
const (
	maxSource   = 1 << 20 // bytes of one file
	maxPolicies = 10_000
	maxNesting  = 64     // brackets in brackets: Cedar's parser recurses, and a stack that overflows cannot be caught
	maxTokens   = 20_000 // words of one policy
)

// Set is an immutable set of policies.
type Set struct {
	policies []*policy
	byAction map[string][]*policy       // those whose scope can apply, in the order they were written
	facts    map[string]map[string]bool // by action: the facts that those look at
	byID     map[cedar.PolicyID]*policy
}

// policy is one statement.
type policy struct {
	ref    Ref
	named  bool // by @id
	permit bool
	annotations
	cedar *cedar.Policy
	tree  *ast.Policy
	key   cedar.PolicyID

	source     string // whole text of its file, of which it is source[start:end]
	start, end int
}

// Parse reads policies and checks them against the schema. Its error is [Problems]: everything that is wrong, each
// with file, line, column and what to do.
func Parse(sources ...Source) (*Set, error) {
	var all []*policy
	var problems Problems
	for _, src := range sources {
		ps, bad := parseSource(src)
		all, problems = append(all, ps...), append(problems, bad...)
	}
	if len(all) > maxPolicies {
		problems = append(problems, Problem{File: sources[0].Name, Line: 1, Column: 1,
			What: fmt.Sprintf("%d policies are more than the %d that one set may have", len(all), maxPolicies)})
	}
	nameUnnamed(all)
	problems = append(problems, duplicateIDs(all)...)
	for _, p := range all {
		problems = append(problems, p.check()...)
	}
	if err := problems.err(); err != nil {
		return nil, err
	}
	return newSet(all), nil
}

// Load reads policies from files, and from all *.cedar files directly in directories. Finding none at all is an error:
// a mistyped path must not become an empty set.
func Load(paths ...string) (*Set, error) {
	var sources []Source
	for _, path := range paths {
		files, err := policyFiles(path)
		if err != nil {
			return nil, err
		}
		for _, file := range files {
			text, err := os.ReadFile(file)
			if err != nil {
				return nil, fmt.Errorf("read policies: %w", err)
			}
			sources = append(sources, Source{Name: file, Text: text})
		}
	}
	if len(sources) == 0 {
		return nil, errors.New("read policies: no path given")
	}
	return Parse(sources...)
}

func policyFiles(path string) ([]string, error) {
	info, err := os.Stat(path)
	if err != nil {
		return nil, fmt.Errorf("read policies: %w", err)
	}
	if !info.IsDir() {
		return []string{path}, nil
	}
	entries, err := os.ReadDir(path)
	if err != nil {
		return nil, fmt.Errorf("read policies: %w", err)
	}
	var files []string
	for _, e := range entries {
		// Hidden files are what editors and Kubernetes leave beside the real ones.
		if e.Type()&fs.ModeDir == 0 && strings.HasSuffix(e.Name(), ".cedar") && !strings.HasPrefix(e.Name(), ".") {
			files = append(files, filepath.Join(path, e.Name()))
		}
	}
	if len(files) == 0 {
		return nil, fmt.Errorf("read policies: %s has no *.cedar file", path)
	}
	return files, nil
}

// Len returns how many policies the set has.
func (s *Set) Len() int {
	if s == nil {
		return 0
	}
	return len(s.policies)
}

// Policies returns where each policy stands, in the order they were given.
func (s *Set) Policies() []Ref {
	if s == nil {
		return nil
	}
	refs := make([]Ref, len(s.policies))
	for i, p := range s.policies {
		refs[i] = p.ref
	}
	return refs
}

func newSet(all []*policy) *Set {
	s := &Set{policies: all, byAction: map[string][]*policy{}, facts: map[string]map[string]bool{}, byID: map[cedar.PolicyID]*policy{}}
	for i, p := range all {
		p.key = cedar.PolicyID(strconv.Itoa(i))
		s.byID[p.key] = p
	}
	for name, a := range words().actions {
		for _, p := range all {
			if p.scopeHas(a) {
				s.byAction[name] = append(s.byAction[name], p)
			}
		}
		s.facts[name] = a.factsUsed(s.byAction[name])
	}
	return s
}

// Heeds reports whether a policy that can apply to an action looks at one of the facts.
func (s *Set) Heeds(action string, facts ...string) bool {
	return slices.ContainsFunc(facts, func(f string) bool { return s.facts[action][f] })
}

// scopeHas reports whether the policy's scope leaves room for a. Cedar looks again; this spares it the rest.
func (p *policy) scopeHas(a *action) bool {
	switch scope := p.tree.Action.(type) {
	case ast.ScopeTypeEq:
		return scope.Entity == a.uid
	case ast.ScopeTypeIn:
		return a.within[scope.Entity]
	case ast.ScopeTypeInSet:
		return slices.ContainsFunc(scope.Entities, func(uid cedar.EntityUID) bool { return a.within[uid] })
	default:
		return true
	}
}

// factsUsed returns which facts of a the policies look at: all, where one uses the context as a whole.
func (a *action) factsUsed(ps []*policy) map[string]bool {
	used := map[string]bool{}
	for _, p := range ps {
		for _, u := range p.attributesUsed() {
			if u.of == "context" {
				used[u.name] = true
			}
		}
		if p.usesWhole("context") {
			for name := range a.context {
				used[name] = true
			}
		}
	}
	return used
}

func parseSource(src Source) ([]*policy, Problems) {
	if len(src.Text) > maxSource {
		return nil, Problems{{File: src.Name, Line: 1, Column: 1, What: fmt.Sprintf("is larger than %d bytes", maxSource), Hint: "is it a policy file?"}}
	}
	text := bytes.TrimPrefix(src.Text, []byte("\xef\xbb\xbf"))
	if p, ok := tooDeep(src.Name, string(text)); ok {
		return nil, Problems{p}
	}
	list, err := cedar.NewPolicyListFromBytes(src.Name, text)
	if err != nil {
		return nil, Problems{syntaxProblem(src.Name, err)}
	}
	var out []*policy
	var problems Problems
	for i, cp := range list {
		p := &policy{cedar: cp, tree: (*ast.Policy)(cp.AST()), permit: cp.Effect() == cedar.Permit, source: string(text)}
		at := cp.Position()
		p.start, p.end = at.Offset, len(text)
		if i+1 < len(list) {
			p.end = list[i+1].Position().Offset
		}
		given := map[string]string{}
		for k, v := range cp.Annotations() {
			given[string(k)] = string(v)
		}
		if _, p.named = given["id"]; !p.named {
			given["id"] = defaultID(src.Name, at.Line)
		}
		p.ref = Ref{ID: given["id"], File: src.Name, Line: at.Line, Column: at.Column}
		var bad []*annotationError
		p.annotations, bad = readAnnotations(p.permit, given)
		for _, b := range bad {
			problems = append(problems, p.problem(find(p.source, p.start, p.end, "@", b.name), b.Error(), b.hint))
		}
		out = append(out, p)
	}
	return out, problems
}

var unsafeInID = regexp.MustCompile(`[^A-Za-z0-9._+-]+`)

// defaultID names a policy that has no @id after its place: stable while the file is.
func defaultID(file string, line int) string {
	base := unsafeInID.ReplaceAllString(strings.TrimSuffix(filepath.Base(file), ".cedar"), "-")
	if base = strings.TrimLeft(base, "._+-"); base == "" {
		base = "policy"
	}
	return fmt.Sprintf("%.60s:%d", base, line)
}

// tooDeep finds text that would take the parser or the type check unreasonably deep or long.
func tooDeep(file, text string) (Problem, bool) {
	depth, words := 0, 0
	for _, t := range tokens(text, 0, len(text)) {
		words++
		what := ""
		switch t.text {
		case "(", "[", "{":
			if depth++; depth > maxNesting {
				what = fmt.Sprintf("more than %d brackets inside each other", maxNesting)
			}
		case ")", "]", "}":
			depth = max(depth-1, 0)
		case ";":
			words = 0
		}
		if words > maxTokens {
			what = fmt.Sprintf("a policy of more than %d words", maxTokens)
		}
		if what != "" {
			line, column := position(text, t.offset)
			return Problem{File: file, Line: line, Column: column, What: what, Hint: "split it into several policies"}, true
		}
	}
	return Problem{}, false
}

// nameUnnamed keeps apart the policies without @id whose places have the same name: on one line, or in files of the same
// name.
func nameUnnamed(all []*policy) {
	taken := map[string]bool{}
	for _, p := range all {
		taken[p.ref.ID] = taken[p.ref.ID] || p.named
	}
	for _, p := range all {
		if p.named {
			continue
		}
		base := p.ref.ID
		for n := 2; taken[p.ref.ID]; n++ {
			p.ref.ID = fmt.Sprintf("%s+%d", base, n)
		}
		taken[p.ref.ID] = true
		for i := range p.terms.Needs {
			p.terms.Needs[i].Policy = p.ref.ID
		}
	}
}

// problem is something wrong with p, at a byte offset of its file.
func (p *policy) problem(offset int, what, hint string) Problem {
	line, column := position(p.source, offset)
	return Problem{File: p.ref.File, Line: line, Column: column, Policy: p.ref.ID, What: what, Hint: hint}
}

func duplicateIDs(all []*policy) Problems {
	var problems Problems
	first := map[string]*policy{}
	for _, p := range all {
		if q, ok := first[p.ref.ID]; ok {
			at := find(p.source, p.start, p.end, "@", "id")
			problems = append(problems, p.problem(at, fmt.Sprintf("the id %q is taken", p.ref.ID),
				fmt.Sprintf("%s:%d:%d has it; ids name policies in records, so give each its own", q.ref.File, q.ref.Line, q.ref.Column)))
			continue
		}
		first[p.ref.ID] = p
	}
	return problems
}

var syntaxAt = regexp.MustCompile(`^(?:parser error: )?(?:parse error at )?<input>:(\d+):(\d+)(?::)? ?(?:("(?:[^"\\]|\\.)*"): )?(.*)$`)

// syntaxProblem turns what cedar-go says about text that is not Cedar into a problem.
func syntaxProblem(file string, err error) Problem {
	p := Problem{File: file, Line: 1, Column: 1, What: err.Error()}
	m := syntaxAt.FindStringSubmatch(strings.ReplaceAll(err.Error(), "\n", " "))
	if m == nil {
		return p
	}
	line, _ := strconv.Atoi(m[1])
	column, _ := strconv.Atoi(m[2])
	p.Line, p.Column = max(line, 1), max(column, 1) // the scanner says 0:0 of a first character that is not UTF-8
	p.What = "syntax: " + m[4]
	if exact := regexp.MustCompile(`^exact got (.*) want (.*)$`).FindStringSubmatch(m[4]); exact != nil {
		if exact[1] == "" {
			exact[1] = "the end of the file"
		}
		p.What = fmt.Sprintf("syntax: found %s where %s belongs", exact[1], exact[2])
	} else if m[3] != "" {
		p.What += " before " + m[3]
	}
	p.Hint = "a policy reads: permit (principal, action, resource) when { ... };"
	return p
}

func sortedKeys[V any](m map[string]V) []string { return slices.Sorted(maps.Keys(m)) }

// A Listed is one policy as its author wrote it.
type Listed struct {
	Ref  Ref
	Text string
}

// List returns the text of each policy, in the order they were given.
func (s *Set) List() []Listed {
	if s == nil {
		return nil
	}
	all := make([]Listed, len(s.policies))
	for i, p := range s.policies {
		all[i] = Listed{p.ref, untrailed(p.source[p.start:p.end])}
	}
	return all
}

// untrailed leaves out what follows a statement: blank lines, and comments, which belong to the next.
func untrailed(text string) string {
	lines := strings.Split(strings.TrimSpace(text), "\n")
	for len(lines) > 1 {
		if last := strings.TrimSpace(lines[len(lines)-1]); last != "" && !strings.HasPrefix(last, "//") {
			break
		}
		lines = lines[:len(lines)-1]
	}
	return strings.TrimRight(strings.Join(lines, "\n"), " \t\r")
}
