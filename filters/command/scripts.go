package command

import "strings"

// hookSed reads the script of sed.
func hookSed(c *call) bool {
	operands := c.operands
	var script []string
	var flags flags
	inPlace := false
	for _, g := range c.opts {
		switch g.o.name {
		case "-e", "--expression":
			script = append(script, g.value.text)
			flags |= g.value.flags
		case "-f", "--file":
			c.word(kindScript, g.value)
		case "-i", "--in-place":
			inPlace = true
		}
	}
	if !c.has("-e", "--expression", "-f", "--file") && len(operands) > 0 {
		script = append(script, operands[0].text)
		flags |= operands[0].flags
		operands = operands[1:]
	}
	if flags != 0 {
		c.opaque("the script of sed is known only when it runs")
	}
	s := sedScript{c: c, s: strings.Join(script, "\n")}
	s.commands()
	for _, a := range operands {
		if c.read(a); inPlace {
			c.write(a)
		}
	}
	return true
}

// sedScript goes through a script of sed. What it does not understand is opaque.
type sedScript struct {
	c *call
	s string
	i int
}

func (s *sedScript) fail() {
	s.c.opaque("cannot follow the script of sed")
	s.i = len(s.s)
}

func (s *sedScript) skip(set string) {
	for s.i < len(s.s) && strings.IndexByte(set, s.s[s.i]) >= 0 {
		s.i++
	}
}

func (s *sedScript) commands() {
	for {
		s.skip(" \t\n;{}")
		if s.i >= len(s.s) {
			return
		}
		s.address()
		s.skip(" \t!")
		if s.i >= len(s.s) {
			return
		}
		s.command()
	}
}

// address skips [addr[,addr]].
func (s *sedScript) address() {
	for s.i < len(s.s) {
		switch ch := s.s[s.i]; {
		case ch >= '0' && ch <= '9' || strings.IndexByte("$,~+ \t", ch) >= 0:
			s.i++
		case ch == '/':
			s.i++
			s.until('/')
			s.skip("IM")
		case ch == '\\' && s.i+1 < len(s.s):
			s.i += 2
			s.until(s.s[s.i-1])
			s.skip("IM")
		default:
			return
		}
	}
}

// until skips to behind the next end that is not escaped.
func (s *sedScript) until(end byte) {
	bracket := false
	for ; s.i < len(s.s); s.i++ {
		switch ch := s.s[s.i]; {
		case ch == '\\':
			s.i++
		case ch == end:
			s.i++
			if bracket {
				s.fail() // versions of sed differ on whether a bracket hides it
			}
			return
		case ch == '[':
			bracket = true
		case ch == ']':
			bracket = false
		}
	}
	s.fail()
}

// line returns what is left of the line.
func (s *sedScript) line() string {
	rest, _, _ := strings.Cut(s.s[s.i:], "\n")
	s.i += len(rest)
	return strings.TrimLeft(rest, " \t")
}

func (s *sedScript) command() {
	ch := s.s[s.i]
	s.i++
	switch ch {
	case '=', 'd', 'D', 'g', 'G', 'h', 'H', 'n', 'N', 'p', 'P', 'x', 'z', 'F', '}':
		s.end()
	case '{':
	case '#':
		s.line()
	case ':':
		s.line()
	case 'b', 't', 'T', 'q', 'Q', 'l', 'L', 'v':
		for s.i < len(s.s) && strings.IndexByte(";}\n", s.s[s.i]) < 0 {
			s.i++
		}
	case 'a', 'i', 'c':
		s.text()
	case 'r', 'R':
		s.c.read(literal(s.line()))
	case 'w', 'W':
		s.c.write(literal(s.line()))
	case 's':
		s.substitute()
	case 'y':
		if s.i < len(s.s) {
			end := s.s[s.i]
			s.i++
			s.until(end)
			s.until(end)
			s.end()
		}
	case 'e':
		s.c.class |= Interpreter
		s.c.opaque("sed runs a command")
		s.fail()
	default:
		s.fail()
	}
}

// end makes sure that a command ends here.
func (s *sedScript) end() {
	s.skip(" \t")
	if s.i < len(s.s) && strings.IndexByte(";}\n#", s.s[s.i]) < 0 {
		s.fail()
	}
}

// text skips the text of a, i and c: up to a newline without a backslash before it.
func (s *sedScript) text() {
	for ; s.i < len(s.s); s.i++ {
		switch s.s[s.i] {
		case '\\':
			s.i++
		case '\n':
			return
		}
	}
}

func (s *sedScript) substitute() {
	if s.i >= len(s.s) {
		s.fail()
		return
	}
	end := s.s[s.i]
	s.i++
	s.until(end)
	from := s.i
	// A bracket in the replacement is no bracket expression.
	for s.i < len(s.s) && s.s[s.i] != end {
		if s.s[s.i] == '\\' {
			s.i++
		}
		s.i++
	}
	if s.i >= len(s.s) || from > len(s.s) {
		s.fail()
		return
	}
	for s.i++; s.i < len(s.s); s.i++ {
		switch ch := s.s[s.i]; {
		case strings.IndexByte("gpiImM0123456789", ch) >= 0:
		case ch == 'e':
			s.c.class |= Interpreter
			s.c.opaque("sed runs what it made as a command")
		case ch == 'w':
			s.i++
			s.c.write(literal(s.line()))
			return
		default:
			s.end()
			return
		}
	}
}

// hookAwk reads the program of awk.
func hookAwk(c *call) bool {
	operands := c.operands
	c.values()
	if !c.has("-f", "--file", "-E", "--exec", "-e", "--source") {
		if len(operands) == 0 {
			return true
		}
		c.awkProgram(operands[0])
		operands = operands[1:]
	}
	for _, a := range operands {
		if a.flags == 0 && isAssignment(a) {
			continue
		}
		c.read(a)
	}
	return true
}

// awkProgram looks for what makes awk more than a filter: commands, files and other ways to call.
func (c *call) awkProgram(a arg) {
	if a.flags != 0 {
		c.class |= Interpreter
		c.opaque("the program of awk is known only when it runs")
		return
	}
	for _, word := range []string{"system", "getline", "@", "close", "fflush", "|&"} {
		if strings.Contains(a.text, word) {
			c.class |= Interpreter
			c.opaque("awk may run commands or read files: " + word)
			return
		}
	}
	if i := strings.Index(a.text, "print"); i >= 0 && strings.ContainsAny(awkPlain(a.text[i:], a.text), ">|") {
		c.class |= Interpreter | Write
		c.opaque("awk may print to a file or a command")
	}
}

// awkPlain returns part without strings, || and >=. With a slash in the program a quote may stand in a regular
// expression, and nothing is taken out.
func awkPlain(part, whole string) string {
	if strings.Contains(whole, "/") || strings.Contains(whole, "\\") {
		return part
	}
	var b strings.Builder
	for i, piece := range strings.Split(part, `"`) {
		if i%2 == 0 {
			b.WriteString(piece)
		}
	}
	return strings.NewReplacer("||", "", ">=", "").Replace(b.String())
}
