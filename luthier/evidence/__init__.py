"""What is shown by training: experiments of several runs, which stand above the stages."""
