package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/alecthomas/kong"

	"github.com/sallyport-ssh/sallyport/replay/cast"
)

// exportCmd writes a recording in another form.
type exportCmd struct {
	placeFlags
	What   string `arg:"" help:"Id of a session, or a file." placeholder:"ID|FILE"`
	Format string `help:"v3 (as recorded), v2, text or jsonl." enum:"v3,v2,text,jsonl" default:"v3"`
}

var exports = map[string]func(io.Writer, *cast.Reader) error{"v2": cast.ExportV2, "text": cast.ExportText, "jsonl": cast.ExportJSON}

// Run writes it to standard output.
func (c *exportCmd) Run(ctx context.Context, k *kong.Context) error {
	in, err := c.recording(ctx)
	if err != nil {
		return err
	}
	defer in.Close()
	if c.Format == "v3" {
		_, err := io.Copy(k.Stdout, in)
		return err
	}
	r, err := cast.NewReader(in)
	if err != nil {
		return err
	}
	r.Lenient = true
	return exports[c.Format](k.Stdout, r)
}

func (c *exportCmd) recording(ctx context.Context) (io.ReadCloser, error) {
	if f, err := os.Open(c.What); err == nil {
		return f, nil
	}
	p, err := c.open()
	if err != nil {
		return nil, &exitError{exitUsage, errors.Join(fmt.Errorf("%q is no file", c.What), err)}
	}
	lib, closeLib, err := p.openLibrary(ctx, nil)
	if err != nil {
		return nil, err
	}
	in, err := lib.Open(ctx, c.What)
	if err != nil {
		return nil, errors.Join(err, closeLib())
	}
	return in, nil // what closeLib would close ends with the process
}
