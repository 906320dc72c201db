package postgres

import "errors"

type psqlBox struct{}

func newPsql(*Target) (*psqlBox, error) { return nil, errors.New("x") }
func (*psqlBox) close() error           { return nil }
