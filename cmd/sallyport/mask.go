package main

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"time"

	"github.com/goccy/go-yaml"
	"github.com/goccy/go-yaml/ast"
	"github.com/goccy/go-yaml/parser"

	"github.com/sallyport-ssh/sallyport/filters/mask"
)

// maskCmd is the masking engine as a Unix filter.
//
// It exits with 0 when all input was masked; with --explain, 0 says that nothing was found and 1 that something
// was; 2 says that the input could not be read, the output not written, or the configuration not used.
type maskCmd struct {
	TTY     bool     `name:"tty" help:"The input is what a terminal shows: look at its screen again after every burst."`
	Cols    int      `help:"Columns of that terminal." default:"80"`
	Rows    int      `help:"Rows of that terminal." default:"24"`
	Style   string   `help:"How values are replaced: stars, last4 or token (with a key made for this run if the configuration names none)." placeholder:"STYLE"`
	Config  string   `help:"YAML file with detectors, patterns, literals, fields, style and token_key_file." type:"path" placeholder:"FILE"`
	Explain bool     `help:"Print what was found and where instead of the text, never the value. Exits with 1 if something was."`
	Files   []string `arg:"" optional:"" name:"file" help:"Files to read one after the other instead of standard input."`
}

// Help is the end of the command's help.
func (*maskCmd) Help() string {
	return "Masks standard input, or files, to standard output as it arrives. Exit status: 0 done; 1 something was found (--explain only); 2 trouble."
}

// Run masks standard input, or the files.
func (c *maskCmd) Run(ctx context.Context) error { return c.run(ctx, os.Stdin, os.Stdout) }

func (c *maskCmd) run(ctx context.Context, in io.Reader, out io.Writer) error {
	cfg, style, err := c.config()
	if err != nil {
		return &exitError{2, err}
	}
	e, err := mask.New(cfg)
	if err != nil {
		return &exitError{2, err}
	}
	f := maskFilter{out: out}
	opts := mask.StreamOptions{Style: style}
	if c.Explain {
		f.explain = true
		opts.OnHit = f.report
	}
	f.stream = e.Stream(opts)
	if c.TTY && !c.Explain {
		f.screen = e.Screen(c.Cols, c.Rows, opts)
	}
	if err := c.copyAll(ctx, &f, in); err != nil {
		return &exitError{2, err}
	}
	if c.Explain && f.found > 0 {
		return &exitError{code: 1}
	}
	return nil
}

// copyAll masks in, or the files. No value goes on from one file to the next.
func (c *maskCmd) copyAll(ctx context.Context, f *maskFilter, in io.Reader) error {
	if len(c.Files) == 0 {
		return f.copy(ctx, in)
	}
	for _, name := range c.Files {
		file, err := os.Open(name)
		if err != nil {
			return err
		}
		f.name = name + ":"
		err = f.copy(ctx, file)
		file.Close()
		if err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
	}
	return nil
}

// A maskFile is a configuration file: the keys of mask.Config, and where the key of its tokens is.
type maskFile struct {
	mask.Config  `yaml:",inline"`
	TokenKeyFile string `yaml:"token_key_file"`
}

// config is what the flags and the file ask for.
func (c *maskCmd) config() (mask.Config, mask.Style, error) {
	var f maskFile
	var flag mask.Style
	if err := flag.UnmarshalText([]byte(c.Style)); err != nil {
		return f.Config, 0, fmt.Errorf("--style: %w", err)
	}
	if c.TTY && (c.Cols < 1 || c.Cols > 1000 || c.Rows < 1 || c.Rows > 1000) {
		return f.Config, 0, errors.New("--cols and --rows are between 1 and 1000")
	}
	var file *ast.File
	if c.Config != "" {
		text, err := os.ReadFile(c.Config)
		if err != nil {
			return f.Config, 0, fmt.Errorf("read the configuration: %w", err)
		}
		if file, err = parser.ParseBytes(text, 0); err == nil && len(strings.TrimSpace(string(text))) > 0 {
			err = yaml.UnmarshalWithOptions(text, &f, yaml.Strict())
		}
		if err != nil {
			return f.Config, 0, placeYAML(c.Config, file, err)
		}
	}
	if err := f.readKey(flag); err != nil {
		return f.Config, 0, placeConfig(c.Config, file, err)
	}
	if _, err := mask.New(f.Config); err != nil {
		return f.Config, 0, placeConfig(c.Config, file, err)
	}
	return f.Config, flag, nil
}

// readKey reads the key of style token, or makes one for this run.
func (f *maskFile) readKey(flag mask.Style) (err error) {
	switch {
	case f.TokenKeyFile != "":
		f.TokenKey, err = os.ReadFile(f.TokenKeyFile)
		switch {
		case err != nil:
			err = &mask.ConfigError{Path: "token_key_file", Msg: "cannot be read: " + err.Error(), Hint: "write at least 16 random bytes to it"}
		case len(f.TokenKey) < 16:
			err = &mask.ConfigError{Path: "token_key_file", Msg: fmt.Sprintf("has %d bytes", len(f.TokenKey)), Hint: "write at least 16 random ones to it"}
		}
	case f.Style == mask.Token || flag == mask.Token:
		f.TokenKey = make([]byte, 32)
		_, err = rand.Read(f.TokenKey)
	}
	return err
}

// placeYAML makes an error of the YAML reader one line, in the form editors jump to.
func placeYAML(name string, file *ast.File, err error) error {
	var ye yaml.Error
	if errors.As(err, &ye) && ye.GetToken() != nil && ye.GetToken().Position != nil {
		p := ye.GetToken().Position
		return fmt.Errorf("%s:%d:%d: %s; the keys are detectors, style, token_key_file, patterns, literals and fields", name, p.Line, p.Column, ye.GetMessage())
	}
	if file != nil && errors.Is(err, mask.ErrStyle) {
		return placeConfig(name, file, &mask.ConfigError{Path: "style", Msg: "is none", Hint: "write stars, last4 or token"})
	}
	return fmt.Errorf("%s: %w", name, err)
}

// placeConfig finds where in the file a problem is.
func placeConfig(name string, file *ast.File, err error) error {
	var ce *mask.ConfigError
	if !errors.As(err, &ce) || file == nil {
		return err
	}
	for path := "$." + ce.Path; len(path) > 1; path = path[:max(strings.LastIndexAny(path, ".["), 1)] {
		p, perr := yaml.PathString(path)
		if perr != nil {
			continue
		}
		if node, nerr := p.FilterFile(file); nerr == nil && node != nil && node.GetToken() != nil {
			at := node.GetToken().Position
			return fmt.Errorf("%s:%d:%d: %s %s; %s", name, at.Line, at.Column, ce.Path, ce.Msg, ce.Hint)
		}
	}
	return fmt.Errorf("%s: %s %s; %s", name, ce.Path, ce.Msg, ce.Hint)
}

// lookAfter is how long a screen must be quiet before it is looked at again.
const lookAfter = 20 * time.Millisecond

// A maskFilter masks one stream.
type maskFilter struct {
	out     io.Writer
	stream  *mask.Stream
	screen  *mask.Screen // nil: not a terminal
	explain bool
	name    string // of the file, with a colon
	found   int
	err     error // of a report
	buf     []byte
}

func (f *maskFilter) report(h mask.Hit) {
	f.found++
	if _, err := fmt.Fprintf(f.out, "%s%d:%d: %s, %d bytes\n", f.name, h.Line, h.Column, h.Detector, h.Length); err != nil && f.err == nil {
		f.err = err
	}
}

// copy masks in until it ends. What waits for bytes that do not come is decided when its time runs out.
func (f *maskFilter) copy(ctx context.Context, in io.Reader) error {
	type chunk struct {
		p   []byte
		err error
	}
	chunks, free := make(chan chunk), make(chan []byte, 2)
	free <- make([]byte, 64<<10)
	free <- make([]byte, 64<<10)
	go func() { // ends with the input, or with the program: a read cannot be taken back
		for p := range free {
			n, err := in.Read(p)
			chunks <- chunk{p[:n], err}
			if err != nil {
				return
			}
		}
	}()
	quiet := time.NewTimer(time.Hour)
	defer quiet.Stop()
	for {
		select {
		case <-ctx.Done():
			return f.finish(ctx.Err())
		case c := <-chunks:
			if err := f.write(c.p, f.stream.Append(f.buf[:0], c.p)); err != nil {
				return err
			}
			if c.err != nil {
				return f.finish(c.err)
			}
			free <- c.p[:cap(c.p)]
			quiet.Reset(f.wait())
		case <-quiet.C:
			if err := f.settle(); err != nil {
				return err
			}
			quiet.Reset(f.wait())
		}
	}
}

// wait is how long to wait for more.
func (f *maskFilter) wait() time.Duration {
	if d := f.stream.Patience(); d > 0 {
		return d
	}
	if f.screen != nil && f.screen.Changed() {
		return lookAfter
	}
	return time.Hour
}

// settle decides what is held; when nothing is, it looks at the screen.
func (f *maskFilter) settle() error {
	if f.stream.Held() > 0 {
		return f.write(nil, f.stream.Expire(f.buf[:0]))
	}
	if f.screen == nil {
		return nil
	}
	out, _ := f.screen.Look(nil, true)
	_, err := f.out.Write(out)
	return err
}

// finish ends the stream, whose input ended with cause.
func (f *maskFilter) finish(cause error) error {
	if err := f.write(nil, f.stream.Close(f.buf[:0])); err != nil {
		return err
	}
	if err := f.settle(); err != nil {
		return err
	}
	if cause != nil && !errors.Is(cause, io.EOF) {
		return fmt.Errorf("read: %w", cause)
	}
	return nil
}

// write writes p, which may be shown of what came, and keeps its memory.
func (f *maskFilter) write(came, p []byte) error {
	f.buf = p
	if f.screen != nil {
		f.screen.Write(came, p)
	}
	if f.explain {
		return f.err
	}
	if len(p) == 0 {
		return nil
	}
	_, err := f.out.Write(p)
	return err
}
