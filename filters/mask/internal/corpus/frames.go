package corpus

// A Frame is what stands around a value in a file or a stream.
type Frame struct{ Name, Before, After string }

// Frames are realistic surroundings of a value that is known by itself, without the name of what it is.
var Frames = []Frame{
	{"alone", "", ""}, {"line", "", "\n"}, {"CRLF", "", "\r\n"}, {"word", "see ", " there\n"}, {"sentence", "It is ", ". Then more\n"}, {"question", "is it ", "?\n"},
	{"comma", "first ", ", then\n"}, {"semicolon", "x; ", "; y\n"}, {"brackets", "(", ")\n"}, {"square", "[", "]\n"}, {"angle", "<", ">\n"}, {"braces", "{", "}\n"},
	{"quotes", `"`, "\"\n"}, {"single quotes", "'", "'\n"}, {"backticks", "`", "`\n"},
	{"CSV", "1001,Jane Doe,", ",active\n"}, {"CSV last", "1001,Jane,", "\r\n"}, {"CSV quoted", `"1001","`, "\",\"x\"\n"}, {"CSV semicolons", "a;b;", ";c\n"}, {"TSV", "a\t", "\tb\n"},
	{"JSON", `{"id": 7, "v": "`, "\", \"ok\": true}\n"}, {"JSON tight", `{"id":7,"v":"`, "\",\"ok\":true}\n"}, {"JSON lines", "{\n  \"v\": \"", "\"\n}\n"},
	{"JSON list", `["a", "`, "\", \"b\"]\n"}, {"JSON in JSON", `{"body":"{\"v\":\"`, "\\\"}\"}\n"}, {"Go string", `v := "`, "\"\n"}, {"escaped newline", `"a\n`, "\\nb\"\n"},
	{"YAML", "  v: ", "\n"}, {"YAML quoted", "  v: \"", "\"\n"}, {"YAML list", "  - ", "\n"}, {"TOML", "v = \"", "\"\n"}, {"INI", "v=", "\n"}, {"properties", "a.b.v=", "\n"},
	{"env", "VALUE=", "\n"}, {"export", "export VALUE=\"", "\"\n"}, {"log", "2026-11-24T10:00:00Z INFO got ", " from peer\n"}, {"logfmt", "level=info v=", " took=3ms\n"},
	{"syslog", "Nov 24 10:00:00 host app[123]: v=", "\n"}, {"header", "X-Value: ", "\r\n"}, {"query", "GET /x?v=", "&y=1 HTTP/1.1\r\n"}, {"path", "GET /v/", "/x HTTP/1.1\r\n"},
	{"SQL", "INSERT INTO t VALUES (1, '", "', NULL);\n"}, {"COPY", "1\t", "\t\\N\n"}, {"flag", "tool --value ", " --x\n"}, {"flag=", "tool --value=", " --x\n"}, {"flag quoted", "tool --value '", "' --x\n"},
	{"prompt", "$ echo ", "\n"}, {"psql", " 1 | ", " | x\n"}, {"table", "| 1 | ", " | x |\n"}, {"box", "│ ", " │\n"}, {"box tight", "│", "│\n"}, {"XML", "<v>", "</v>\n"}, {"attribute", "<v x=\"", "\"/>\n"},
	{"HTML", "<td>", "</td>\n"}, {"markdown", "**", "**\n"}, {"code", "f('", "')\n"}, {"Ruby", ":v => '", "',\n"}, {"Python", "{'v': '", "'}\n"}, {"PHP", "$v = '", "';\n"},
	{"colour", "\x1b[32m", "\x1b[0m\n"}, {"colour and word", "x \x1b[1;31m", "\x1b[m y\n"}, {"erase", "\x1b[K", "\x1b[K\r\n"}, {"cursor", "\x1b[3;7H", "\x1b[5;1H"}, {"title", "\x1b]0;", "\a$ "},
	{"wide", "価格 ", " 円\n"}, {"wide tight", "「", "」\n"}, {"accents", "é ", " ü\n"}, {"invalid before", "\xff", "\n"}, {"invalid after", "x ", "\xfe\n"}, {"nul", "\x00", "\x00"},
	{"bullet", "• ", "\n"}, {"arrow", "x → ", "\n"}, {"tabs", "\t\t", "\t\n"}, {"equals blank", "v = ", "\n"}, {"colon tight", "v:", "\n"}, {"diff", "+  v: ", "\n"}, {"grep", "a.txt:12:", "\n"},
}
