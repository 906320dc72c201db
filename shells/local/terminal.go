package local

import (
	"bytes"
	"fmt"
	"io"
	"os"

	"golang.org/x/crypto/ssh"
	"golang.org/x/sys/unix"
)

// maxSide bounds a terminal: sizes come from the client, and programs allocate by them.
const maxSide = 4096

// terminal is a process with a terminal.
type terminal struct{ *process }

// Stdin is the keyboard.
func (t *terminal) Stdin() io.WriteCloser { return keyboard{t.process} }

// Stdout is the screen.
func (t *terminal) Stdout() io.Reader { return &output{p: t.process, f: t.pty} }

// Stderr is nil: a terminal has one stream.
func (t *terminal) Stderr() io.Reader { return nil }

// ReadsSecret tells whether a program reads a line that the terminal does not show, as for a password. An editor that
// draws what is typed itself does not read lines.
func (t *terminal) ReadsSecret() bool {
	secret := false
	control(t.pty, func(fd int) error {
		tio, err := unix.IoctlGetTermios(fd, unix.TCGETS)
		secret = err == nil && tio.Lflag&unix.ECHO == 0 && tio.Lflag&unix.ICANON != 0
		return err
	})
	return secret
}

type keyboard struct{ p *process }

func (k keyboard) Write(b []byte) (int, error) {
	g := k.p.guard
	if g != nil && bytes.ContainsAny(b, "\x03\x1a\x1c") {
		g.Typed.Store(true)
	}
	n, err := k.p.pty.Write(b)
	if g != nil && bytes.IndexByte(b, 3) >= 0 {
		g.interrupted()
	}
	return n, err
}

// Close types the end-of-file character, as a person would: a terminal cannot be half closed.
func (k keyboard) Close() error {
	eof := byte(4)
	control(k.p.pty, func(fd int) error {
		tio, err := unix.IoctlGetTermios(fd, unix.TCGETS)
		if err == nil {
			eof = tio.Cc[unix.VEOF]
		}
		return err
	})
	_, err := k.p.pty.Write([]byte{eof})
	return err
}

// control runs f on the descriptor without taking it out of the poller, as Fd would.
func control(file *os.File, f func(fd int) error) error {
	conn, err := file.SyscallConn()
	if err != nil {
		return err
	}
	var ferr error
	if err := conn.Control(func(fd uintptr) { ferr = f(int(fd)) }); err != nil {
		return err
	}
	return ferr
}

func setSize(file *os.File, cols, rows uint32) error {
	size := &unix.Winsize{Col: uint16(min(cols, maxSide)), Row: uint16(min(rows, maxSide))}
	return control(file, func(fd int) error { return unix.IoctlSetWinsize(fd, unix.TIOCSWINSZ, size) })
}

// foreground is the process group that the terminal's keys reach.
func foreground(file *os.File) (group int, err error) {
	err = control(file, func(fd int) error {
		group, err = unix.IoctlGetInt(fd, unix.TIOCGPGRP)
		return err
	})
	return group, err
}

// ccModes, inModes, localModes, outModes and controlModes are the opcodes of RFC 4254 section 8.
var ccModes = map[uint8]int{
	ssh.VINTR: unix.VINTR, ssh.VQUIT: unix.VQUIT, ssh.VERASE: unix.VERASE, ssh.VKILL: unix.VKILL, ssh.VEOF: unix.VEOF,
	ssh.VEOL: unix.VEOL, ssh.VEOL2: unix.VEOL2, ssh.VSTART: unix.VSTART, ssh.VSTOP: unix.VSTOP, ssh.VSUSP: unix.VSUSP,
	ssh.VREPRINT: unix.VREPRINT, ssh.VWERASE: unix.VWERASE, ssh.VLNEXT: unix.VLNEXT, ssh.VDISCARD: unix.VDISCARD,
	ssh.VSWTCH: unix.VSWTC,
}

var inModes = map[uint8]uint32{
	ssh.IGNPAR: unix.IGNPAR, ssh.PARMRK: unix.PARMRK, ssh.INPCK: unix.INPCK, ssh.ISTRIP: unix.ISTRIP,
	ssh.INLCR: unix.INLCR, ssh.IGNCR: unix.IGNCR, ssh.ICRNL: unix.ICRNL, ssh.IUCLC: unix.IUCLC,
	ssh.IXON: unix.IXON, ssh.IXANY: unix.IXANY, ssh.IXOFF: unix.IXOFF, ssh.IMAXBEL: unix.IMAXBEL,
	ssh.IUTF8: unix.IUTF8,
}

var localModes = map[uint8]uint32{
	ssh.ISIG: unix.ISIG, ssh.ICANON: unix.ICANON, ssh.XCASE: unix.XCASE, ssh.ECHO: unix.ECHO, ssh.ECHOE: unix.ECHOE,
	ssh.ECHOK: unix.ECHOK, ssh.ECHONL: unix.ECHONL, ssh.NOFLSH: unix.NOFLSH, ssh.TOSTOP: unix.TOSTOP,
	ssh.IEXTEN: unix.IEXTEN, ssh.ECHOCTL: unix.ECHOCTL, ssh.ECHOKE: unix.ECHOKE, ssh.PENDIN: unix.PENDIN,
}

var outModes = map[uint8]uint32{
	ssh.OPOST: unix.OPOST, ssh.OLCUC: unix.OLCUC, ssh.ONLCR: unix.ONLCR, ssh.OCRNL: unix.OCRNL,
	ssh.ONOCR: unix.ONOCR, ssh.ONLRET: unix.ONLRET,
}

var controlModes = map[uint8]uint32{ssh.PARENB: unix.PARENB, ssh.PARODD: unix.PARODD}

// setModes applies what the client asked for; opcodes that Linux has no word for are passed over, as RFC
// 4254 section 8 says.
func setModes(fd int, modes ssh.TerminalModes) error {
	tio, err := unix.IoctlGetTermios(fd, unix.TCGETS)
	if err != nil {
		return err
	}
	for op, v := range modes {
		if i, ok := ccModes[op]; ok {
			tio.Cc[i] = uint8(v) // 255 is "none" there, 0 here
			if v == 255 {
				tio.Cc[i] = 0
			}
			continue
		}
		for _, t := range []struct {
			bits map[uint8]uint32
			flag *uint32
		}{{inModes, &tio.Iflag}, {localModes, &tio.Lflag}, {outModes, &tio.Oflag}, {controlModes, &tio.Cflag}} {
			if bit, ok := t.bits[op]; ok {
				*t.flag &^= bit
				if v != 0 {
					*t.flag |= bit
				}
			}
		}
		switch op {
		case ssh.CS7:
			setSizeBits(tio, unix.CS7, v)
		case ssh.CS8:
			setSizeBits(tio, unix.CS8, v)
		}
	}
	if err := unix.IoctlSetTermios(fd, unix.TCSETS, tio); err != nil {
		return fmt.Errorf("tcsetattr: %w", err)
	}
	return nil
}

func setSizeBits(tio *unix.Termios, size, v uint32) {
	if v != 0 {
		tio.Cflag = tio.Cflag&^unix.CSIZE | size
	}
}
