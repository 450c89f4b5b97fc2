// Package floors holds the rules of the house: which package may import which, and how large a file may grow.
//
// Packages stand on floors, and imports go down only, so that a newcomer who opens one room needs to know only the
// rooms below it. The table is in table.go: a new package gets a row there before it gets its first import. The test
// of this package reads the imports of the whole module and says which one breaks which rule, and why there is a rule.
package floors
