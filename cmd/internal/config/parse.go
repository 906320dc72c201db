package config

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"time"

	"github.com/goccy/go-yaml"
	"github.com/goccy/go-yaml/ast"
	"github.com/goccy/go-yaml/parser"
)

// maxSize bounds a configuration file; nobody writes one of a megabyte by hand.
const maxSize = 1 << 20

// An Error is one thing wrong with a file, in the form editors jump to.
type Error struct {
	File         string
	Line, Column int // from 1; 0 when the problem has no place
	Msg          string
	Hint         string // what to do; may be empty
}

func (e *Error) Error() string {
	var b strings.Builder
	b.WriteString(e.File)
	if e.Line > 0 {
		fmt.Fprintf(&b, ":%d:%d", e.Line, e.Column)
	}
	b.WriteString(": " + e.Msg)
	if e.Hint != "" {
		b.WriteString("; " + e.Hint)
	}
	return b.String()
}

// Load reads, parses and validates file. The error joins one [*Error] for each thing wrong.
func Load(file string) (*Config, error) {
	c, tree, err := read(file)
	if err != nil {
		return nil, err
	}
	c.setDefaults()
	return c, place(file, tree, c.validate())
}

// LoadPart reads a file that `sallyport dev` merges into its own configuration by [Config.Merge]: the same
// keys, but none is required.
func LoadPart(file string) (*Config, error) {
	c, tree, err := read(file)
	if err != nil {
		return nil, err
	}
	var problems []problem
	problems = append(problems, c.validateTargets()...)
	problems = append(problems, c.validateUsers()...)
	problems = append(problems, c.validateMasking()...)
	problems = append(problems, c.validateOnCall()...)
	problems = append(problems, c.validateWebhooks()...)
	return c, place(file, tree, problems)
}

func read(file string) (*Config, *ast.File, error) {
	info, err := os.Stat(file)
	if err != nil {
		return nil, nil, fmt.Errorf("configuration: %w", err)
	}
	if info.Size() > maxSize {
		return nil, nil, &Error{File: file, Msg: fmt.Sprintf("is %d bytes long", info.Size()), Hint: "a configuration has at most 1 MiB"}
	}
	text, err := os.ReadFile(file)
	if err != nil {
		return nil, nil, fmt.Errorf("configuration: %w", err)
	}
	return Parse(file, text)
}

// Parse decodes text strictly, without defaults and validation. File names it in errors, and relative
// paths in it are relative to file's directory.
func Parse(file string, text []byte) (*Config, *ast.File, error) {
	tree, err := parser.ParseBytes(text, 0)
	if err != nil {
		return nil, nil, atToken(file, err)
	}
	c := new(Config)
	if len(strings.TrimSpace(string(text))) > 0 {
		if err := yaml.UnmarshalWithOptions(text, c, yaml.Strict()); err != nil {
			return nil, nil, atToken(file, err)
		}
	}
	c.resolve(filepath.Dir(file))
	return c, tree, nil
}

// UnmarshalYAML reads 15m, 1h30m; a bare number is refused because nobody knows its unit.
func (d *Duration) UnmarshalYAML(node ast.Node) error {
	s := strings.Trim(strings.TrimSpace(node.String()), `"'`)
	v, err := time.ParseDuration(s)
	if err != nil {
		return &yaml.SyntaxError{Token: node.GetToken(), Message: fmt.Sprintf("%q is not a duration; write it like 30s, 15m or 1h30m", s)}
	}
	if v < 0 {
		return &yaml.SyntaxError{Token: node.GetToken(), Message: fmt.Sprintf("a duration cannot be negative: %q", s)}
	}
	*d = Duration(v)
	return nil
}

// MarshalYAML writes d as it is read.
func (d Duration) MarshalYAML() ([]byte, error) { return []byte(time.Duration(d).String()), nil }

// atToken turns the parser's error into ours; the parser's own text would quote the file's lines.
func atToken(file string, err error) error {
	var e yaml.Error
	if !errors.As(err, &e) {
		return &Error{File: file, Msg: err.Error()}
	}
	out := &Error{File: file, Msg: e.GetMessage()}
	if tok := e.GetToken(); tok != nil && tok.Position != nil {
		out.Line, out.Column = tok.Position.Line, tok.Position.Column
	}
	var unknown *yaml.UnknownFieldError
	if errors.As(err, &unknown) {
		key := unknown.GetToken().Value
		out.Msg = fmt.Sprintf("unknown key %q", key)
		out.Hint = suggest(key)
	}
	var dup *yaml.DuplicateKeyError
	if errors.As(err, &dup) {
		out.Hint = "remove one of them"
	}
	return out
}

// suggest names the known key nearest to key.
func suggest(key string) string {
	best, bestAt := "", 4
	for name := range keys(reflect.TypeFor[Config](), map[string]bool{}) {
		if d := distance(key, name); d < bestAt || d == bestAt && name < best {
			best, bestAt = name, d
		}
	}
	if best == "" {
		return "see deploy/sallyport.yaml for every key"
	}
	return fmt.Sprintf("did you mean %q?", best)
}

func keys(t reflect.Type, into map[string]bool) map[string]bool {
	switch t.Kind() {
	case reflect.Pointer, reflect.Slice:
		return keys(t.Elem(), into)
	case reflect.Struct:
		for i := range t.NumField() {
			if name := t.Field(i).Tag.Get("yaml"); name != "" {
				into[name] = true
			}
			keys(t.Field(i).Type, into)
		}
	}
	return into
}

// distance is Levenshtein's, for short words.
func distance(a, b string) int {
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := 1; i <= len(a); i++ {
		diagonal := row[0]
		row[0] = i
		for j := 1; j <= len(b); j++ {
			cost := 1
			if a[i-1] == b[j-1] {
				cost = 0
			}
			diagonal, row[j] = row[j], min(row[j]+1, row[j-1]+1, diagonal+cost)
		}
	}
	return row[len(b)]
}

// A problem is something wrong at a YAML path such as $.targets[1].kind.
type problem struct {
	path, msg, hint string
}

// place finds the line and column of each problem; a path that is not in the file falls back to its
// nearest parent that is.
func place(file string, tree *ast.File, problems []problem) error {
	var errs []error
	for _, p := range problems {
		e := &Error{File: file, Msg: strings.TrimPrefix(p.path, "$.") + ": " + p.msg, Hint: p.hint}
		e.Line, e.Column = position(tree, p.path)
		errs = append(errs, e)
	}
	return errors.Join(errs...)
}

// position is 0, 0 in a configuration that was made in code.
func position(tree *ast.File, path string) (line, column int) {
	if tree == nil {
		return 0, 0
	}
	for len(path) > 1 {
		if p, err := yaml.PathString(path); err == nil {
			if node, err := p.FilterFile(tree); err == nil && node != nil {
				if tok := node.GetToken(); tok != nil && tok.Position != nil {
					return tok.Position.Line, tok.Position.Column
				}
			}
		}
		path = path[:max(strings.LastIndexAny(path, ".["), 1)]
	}
	return 1, 1
}

// resolve makes relative paths relative to the file that said them.
func (c *Config) resolve(dir string) {
	c.paths(func(p *string) {
		if *p != "" && !filepath.IsAbs(*p) {
			*p = filepath.Join(dir, *p)
		}
	})
}

// Unresolve writes paths below dir as relative ones, so that dir can be moved with a configuration in it.
func (c *Config) Unresolve(dir string) {
	c.paths(func(p *string) {
		if rel, err := filepath.Rel(dir, *p); err == nil && filepath.IsLocal(rel) {
			*p = rel
		}
	})
}

// paths calls change with every path of a file.
func (c *Config) paths(change func(*string)) {
	for _, p := range []*string{
		&c.HTTP.TLSCert, &c.HTTP.TLSKey, &c.CA.Dir, &c.Masking.TokenKeyFile, &c.Recordings.Spool,
		&c.Recordings.Directory, &c.Console.ClientSecretFile, &c.Metrics.TokenFile,
	} {
		change(p)
	}
	for i := range c.Policies {
		change(&c.Policies[i])
	}
	for i := range c.Webhooks {
		change(&c.Webhooks[i].URLFile)
		change(&c.Webhooks[i].SecretFile)
	}
	if s3 := c.Recordings.S3; s3 != nil {
		change(&s3.AccessKeyFile)
		change(&s3.SecretKeyFile)
		change(&s3.CredentialsFile)
		change(&s3.CAFile)
		if s3.WebIdentity != nil {
			change(&s3.WebIdentity.TokenFile)
		}
	}
	for i := range c.Events {
		c.Events[i].paths(change)
	}
	for _, t := range c.Targets {
		if t.Postgres != nil {
			change(&t.Postgres.PasswordFile)
		}
		if k := t.Kubernetes; k != nil {
			for _, p := range []*string{&k.CAFile, &k.TokenFile, &k.CertificateFile, &k.KeyFile, &k.Kubeconfig, &k.Kubectl} {
				change(p)
			}
		}
		if t.Shell == nil {
			continue
		}
		for i := range t.Shell.Binds {
			change(&t.Shell.Binds[i].Source)
		}
	}
	if path, ok := strings.CutPrefix(c.Ledger.URL, "sqlite:"); ok {
		change(&path)
		c.Ledger.URL = "sqlite:" + path
	}
}
