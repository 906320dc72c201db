package main

import (
	"context"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"os"
)

func init() { openArchive = openPlace }

// openPlace opens the recordings and the ledger of a gate for verify; the gate may run meanwhile.
func openPlace(ctx context.Context, file, dir string) (*archive, error) {
	p, err := placeFlags{Config: file, Dir: dir}.open()
	if err != nil {
		return nil, err
	}
	text, err := os.ReadFile(p.recordRoot())
	if err != nil {
		return nil, fmt.Errorf("the authority of recordings: %w", err)
	}
	block, _ := pem.Decode(text)
	if block == nil {
		return nil, fmt.Errorf("%s holds no certificate", p.recordRoot())
	}
	root, err := x509.ParseCertificate(block.Bytes)
	if err != nil {
		return nil, fmt.Errorf("the authority of recordings: %w", err)
	}
	roots := x509.NewCertPool()
	roots.AddCert(root)
	lib, closeLib, err := p.openLibrary(ctx, roots)
	if err != nil {
		return nil, err
	}
	l, err := p.openLedger(ctx)
	if err != nil {
		return nil, errors.Join(err, closeLib())
	}
	return &archive{lib: lib, seals: l, close: func() error { return errors.Join(l.Close(), closeLib()) }}, nil
}
