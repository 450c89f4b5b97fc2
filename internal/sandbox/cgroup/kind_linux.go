package cgroup

// Kind tells which control groups this process sees: "v1", "v2", "v1 and v2", or
// "none".
func Kind() string {
	all, err := mounted()
	if err != nil {
		return "none"
	}
	var old, unified bool
	for i := range all {
		old, unified = old || !all[i].unified, unified || all[i].unified
	}
	switch {
	case old && unified:
		return "v1 and v2"
	case old:
		return "v1"
	case unified:
		return "v2"
	}
	return "none"
}

// Try tells why limits cannot be had, by making a group.
func Try(l Limits) error {
	g, err := New(l)
	if err != nil {
		return err
	}
	return g.Remove()
}
