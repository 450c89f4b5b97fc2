// Package lab is what a measurement needs around it: a registry on loopback
// behind a meter that counts bytes, base images and build contexts made of
// reproducible files, and the two builders as processes whose wall time, CPU
// time and memory are counted.
//
// It works on Linux, as root, with docker-registry, runc and a static busybox
// from the distribution. All it makes is below one directory and is gone
// after Close, and so is every process.
package lab
