// Package isolation holds no code, only tests: the same builds on every way of
// isolation that the machine allows, by root, by ordinary users with and without
// sub-ids, with the rights of a Docker container, without any rights, and through
// OCI runtimes. Whoever can build a case builds the same image, to the byte.
//
// A case is one file of testdata: txtar, with a Dockerfile, the other files of its
// build context and, under the name "want", the entries of the layers that come of
// it, if they are few enough to be read. Cases share a store, so that a cache mount
// has an id that no other case uses. Lines with a "#" in front say what is proven;
// the others may be
//
//	flags: WORDS     flags of the build; $CASE is the context, $AGENT a socket that says hello
//	env: NAME=VALUE  of the environment
//	with: FILE       a file of the context that no text can be, one of [archives]
//	fails: REGEXP    the build fails everywhere, and says this
//	not NAME: REGEXP a way on which it cannot be built, and what is said there
//	differs NAME: REASON  a way that makes another image, for a reason that is not ours to mend
//
// where NAME is that of an isolation, or of a runtime.
package isolation
