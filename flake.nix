{
  description = "ssh, scp and forwards through AWS Systems Manager, with no open port 22";

  inputs.nixpkgs.url = "github:NixOS/nixpkgs/nixos-unstable";

  outputs =
    { self, nixpkgs }:
    let
      manifest = (builtins.fromTOML (builtins.readFile ./Cargo.toml)).package;
      systems = [
        "x86_64-linux"
        "aarch64-linux"
        "x86_64-darwin"
        "aarch64-darwin"
      ];
      forEach = make: nixpkgs.lib.genAttrs systems (system: make nixpkgs.legacyPackages.${system});
      fumidai =
        pkgs:
        pkgs.rustPlatform.buildRustPackage {
          pname = manifest.name;
          version = manifest.version;
          src = self;
          cargoLock.lockFile = ./Cargo.lock;
          nativeBuildInputs = [ pkgs.cmake ];
          # The tests need sshd, a database and network namespaces: tests/run runs them.
          doCheck = false;
          postInstall = ''
            sh contrib/package $out/share $out/bin/fumidai
            install -Dm644 -t $out/lib/systemd/user contrib/systemd/*.service
          '';
          meta = {
            description = manifest.description;
            homepage = manifest.repository;
            license = with pkgs.lib.licenses; [
              mit
              asl20
            ];
            mainProgram = manifest.name;
          };
        };
    in
    {
      packages = forEach (pkgs: {
        default = fumidai pkgs;
      });
      checks = forEach (pkgs: {
        starts = pkgs.runCommand "fumidai-starts" { } ''
          ${fumidai pkgs}/bin/fumidai --version >$out
        '';
      });
    };
}
