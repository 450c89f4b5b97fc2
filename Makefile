# Targets are thin: what takes more than a few lines is in scripts/.

OCIBUILD := bin/ocibuild

.PHONY: build demo bases test test-isolation test-slow conformance conformance-reference bench profile lint clean FORCE

build: $(OCIBUILD)

$(OCIBUILD): FORCE # go knows what has changed
	CGO_ENABLED=0 go build -trimpath -ldflags "-s -w" -o $@ ./cmd/ocibuild

demo: build # build, run and ask examples/simple-fastapi
	scripts/demo.sh $(OCIBUILD)

bases: build # busybox, debian and python images from Debian's packages
	OCIBUILD=$(abspath $(OCIBUILD)) examples/bases/make.sh

test: build lint
	scripts/test.sh $(OCIBUILD)

test-isolation: build # the same builds on every way of isolation there is here, and a table of them
	scripts/test-isolation.sh $(OCIBUILD)

test-slow: build # what takes minutes: a whole Debian for another processor
	scripts/test-slow.sh $(OCIBUILD)

conformance: # compare what is built with BuildKit's kept results
	$(MAKE) -C conformance conformance

conformance-reference: # make BuildKit's results anew, with BuildKit itself
	$(MAKE) -C conformance conformance-reference

bench: build
	cd bench && CGO_ENABLED=0 go run -trimpath . -ocibuild $(abspath $(OCIBUILD))

profile: # what the compiler is told about hot paths; takes a quiet machine and half a minute
	cd bench && CGO_ENABLED=0 go run -trimpath ./profile $(abspath cmd/ocibuild/default.pgo)

lint: bin/golangci-lint
	@unformatted=$$(gofmt -l $$(git ls-files -co --exclude-standard '*.go')); \
	if [ -n "$$unformatted" ]; then echo "not formatted: $$unformatted"; exit 1; fi
	go vet ./...
	bin/golangci-lint run ./...

bin/golangci-lint: tools/go.mod tools/go.sum
	cd tools && CGO_ENABLED=0 go build -o ../$@ github.com/golangci/golangci-lint/v2/cmd/golangci-lint

clean:
	rm -rf bin
