class Fumidai < Formula
  desc "Client for ssh, scp and forwards through AWS Systems Manager"
  homepage "https://github.com/fumidai/fumidai"
  version "@VERSION@"
  license any_of: ["MIT", "Apache-2.0"]

  on_macos do
    on_arm do
      url "https://github.com/fumidai/fumidai/releases/download/v@VERSION@/fumidai-@VERSION@-aarch64-apple-darwin.tar.gz"
      sha256 "@SHA256_aarch64-apple-darwin@"
    end
    on_intel do
      url "https://github.com/fumidai/fumidai/releases/download/v@VERSION@/fumidai-@VERSION@-x86_64-apple-darwin.tar.gz"
      sha256 "@SHA256_x86_64-apple-darwin@"
    end
  end

  on_linux do
    on_arm do
      url "https://github.com/fumidai/fumidai/releases/download/v@VERSION@/fumidai-@VERSION@-aarch64-unknown-linux-musl.tar.gz"
      sha256 "@SHA256_aarch64-unknown-linux-musl@"
    end
    on_intel do
      url "https://github.com/fumidai/fumidai/releases/download/v@VERSION@/fumidai-@VERSION@-x86_64-unknown-linux-musl.tar.gz"
      sha256 "@SHA256_x86_64-unknown-linux-musl@"
    end
  end

  def install
    bin.install "fumidai"
    man1.install Dir["share/man/man1/*.1"]
    bash_completion.install "share/bash-completion/completions/fumidai"
    zsh_completion.install "share/zsh/site-functions/_fumidai"
    fish_completion.install "share/fish/vendor_completions.d/fumidai.fish"
  end

  test do
    assert_match version.to_s, shell_output("#{bin}/fumidai --version")
  end
end
