package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"github.com/alecthomas/kong"
	"golang.org/x/term"

	"github.com/sallyport-ssh/sallyport/replay/cast"
)

type exportCmd struct {
	placeFlags
	What   string `arg:"" help:"Id of a session, or a file (- is standard input)." placeholder:"ID|FILE"`
	Format string `help:"v3: the recording itself, signatures and all; v2: for older players; text: what was shown, plain; jsonl: one JSON object a line." enum:"v3,v2,text,jsonl" default:"v3" placeholder:"v3|v2|text|jsonl"`
	Output string `help:"File to write, whole or not at all, readable by you alone. Default: standard output." short:"o" type:"path" placeholder:"FILE"`
}

// Help is the end of the command's help.
func (*exportCmd) Help() string {
	return "Only v3 can be verified: everything else is a copy that proves nothing. " + exitHelp
}

// Run writes a recording in another form.
func (c *exportCmd) Run(ctx context.Context, k *kong.Context) error {
	recording, err := c.openRecording(ctx, c.What, "export "+c.Format)
	if err != nil {
		return err
	}
	defer recording.Close()
	if c.Output == "" {
		out := k.Stdout
		if out == io.Writer(os.Stdout) && term.IsTerminal(int(os.Stdout.Fd())) {
			out = &sanitized{w: out, s: cast.NewSanitizer()}
		}
		err = c.export(out, recording)
	} else {
		err = c.toFile(recording)
	}
	if err != nil {
		return fmt.Errorf("recording %s: %w", show(c.What), err)
	}
	return nil
}

func (c *exportCmd) export(w io.Writer, recording io.Reader) error {
	if c.Format == "v3" {
		_, err := io.Copy(w, recording)
		return err
	}
	r, err := cast.NewReader(recording)
	if err != nil {
		return err
	}
	r.Lenient = true // a live one ends where it is
	switch c.Format {
	case "v2":
		return cast.ExportV2(w, r)
	case "text":
		return cast.ExportText(w, r)
	default:
		return cast.ExportJSON(w, r)
	}
}

// toFile writes beside the file and gives it its name at the end.
func (c *exportCmd) toFile(recording io.Reader) error {
	f, err := os.CreateTemp(filepath.Dir(c.Output), ".export-*")
	if err != nil {
		return err
	}
	defer os.Remove(f.Name())
	b := bufio.NewWriter(f)
	err = c.export(b, recording)
	if err = errors.Join(err, b.Flush(), f.Close()); err != nil {
		return err
	}
	return os.Rename(f.Name(), c.Output)
}

// sanitized passes on what a terminal may be shown.
type sanitized struct {
	w io.Writer
	s *cast.Sanitizer
}

func (s *sanitized) Write(p []byte) (int, error) {
	if _, err := s.w.Write(s.s.Append(nil, p)); err != nil {
		return 0, err
	}
	return len(p), nil
}
