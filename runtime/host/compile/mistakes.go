package compile

func (g *grammar) hint(e *Error) string { return "" }
