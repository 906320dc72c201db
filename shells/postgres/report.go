package postgres

import (
	"bytes"
	"strings"
)

// report masks an ErrorResponse or NoticeResponse. Where protected relations may be touched the server's words
// are kept, and the values that it puts between quotes or brackets are not.
func (k *masker) report(out, m []byte, touches, clear bool) []byte {
	if clear {
		return append(out, m...)
	}
	all := touches && written(m)
	b := &body{p: m[header:]}
	return message(out, m[0], func(o []byte) []byte {
		for kind := b.byte(); kind != 0 && !b.bad; kind = b.byte() {
			text := b.text()
			switch kind {
			case 's', 't', 'c', 'd', 'n': // names, which RAISE can set to anything
				if all {
					text = hidden
				}
			case 'M', 'D', 'H', 'W', 'q':
				if all {
					text = hidden
				} else if touches {
					text = hideValues(kind, text)
				}
				text = string(k.look([]byte(text)))
			}
			o = appendText(append(o, kind), text)
		}
		return append(o, 0)
	})
}

// written tells whether somebody's code wrote the message, by RAISE and its like: then all of it can be
// values. The server says which of its own files a message comes from; those of its languages begin alike.
func written(m []byte) bool {
	b := &body{p: m[header:]}
	for kind := b.byte(); kind != 0 && !b.bad; kind = b.byte() {
		if file := b.text(); kind == 'F' {
			return strings.HasPrefix(file, "pl")
		}
	}
	return true
}

// hidden stands for what was taken out of a message.
const hidden = "***"

// hideValues takes values out of one field. A message quotes names as well as values; only what stands
// behind a colon is a value. Detail is nearly all values: "Key (email)=(...) already exists.",
// "Failing row contains (...)."
func hideValues(kind byte, text string) string {
	switch kind {
	case 'M', 'H':
		if at := strings.Index(text, ": "); at >= 0 {
			return text[:at+2] + quoted(text[at+2:])
		}
		return text
	case 'D':
		if at := strings.Index(text, ")=("); at >= 0 {
			return text[:at+3] + hidden + ")."
		}
		if at := strings.IndexByte(text, '('); at >= 0 {
			return text[:at+1] + hidden + ")."
		}
		return quoted(text)
	}
	// Where it happened, and the query inside a function: statements with their values.
	return hidden
}

// quoted hides what stands in double quotes.
func quoted(text string) string {
	open := strings.IndexByte(text, '"')
	if open < 0 {
		return text
	}
	last := strings.LastIndexByte(text, '"')
	if last == open {
		return text[:open+1] + hidden
	}
	return text[:open+1] + hidden + text[last:]
}

// messageText is the readable part of a report, for the record.
func messageText(m []byte) string {
	b := &body{p: m[header:]}
	var severity, code, text, detail, hint string
	for kind := b.byte(); kind != 0 && !b.bad; kind = b.byte() {
		v := b.text()
		switch kind {
		case 'S':
			severity = v
		case 'C':
			code = v
		case 'M':
			text = v
		case 'D':
			detail = v
		case 'H':
			hint = v
		}
	}
	var out bytes.Buffer
	out.WriteString(severity + ":  " + text + "\n")
	if detail != "" {
		out.WriteString("DETAIL:  " + detail + "\n")
	}
	if hint != "" {
		out.WriteString("HINT:  " + hint + "\n")
	}
	if severity != "NOTICE" && code != "" {
		out.WriteString("SQLSTATE:  " + code + "\n")
	}
	return out.String()
}
